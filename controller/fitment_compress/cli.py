"""`fitment compress`: one command, results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fitment_compress.errors import CompressError
from fitment_contract.benchmark import MetricSpec

if TYPE_CHECKING:
    from fitment_compress.compress import CompressRequest
    from fitment_contract.portfolio import Portfolio


class OutputFormat(str, Enum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("compress")(compress_command)


Model = Annotated[Path, typer.Argument(help="The source model, an ONNX file.")]
Data = Annotated[
    Path, typer.Option(help="An npz: one array per model input, optionally `label` and `slice`.")
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        help="Calibration samples. [default: some of --train; without it, --data is divided]"
    ),
]
Train = Annotated[
    Path | None,
    typer.Option(help="Samples to learn from, labelled or not; adds recipes that train."),
]
Out = Annotated[Path | None, typer.Option(help="The portfolio folder. [default: NAME.portfolio]")]
Name = Annotated[
    str | None, typer.Option(help="What applications ask for. [default: from the file's name]")
]
ModelVersion = Annotated[int, typer.Option(min=1, help="The version of the model.")]
Recipes = Annotated[Path | None, typer.Option(help="A YAML file in place of the default recipes.")]
Only = Annotated[
    list[str] | None, typer.Option(help="Make this recipe and the baseline; may be repeated.")
]
Metric = Annotated[
    str | None, typer.Option(help="NAME or NAME:option=value, for example topk:k=3.")
]
Jobs = Annotated[
    int, typer.Option(min=1, help="Candidates made at a time; timing is never parallel.")
]
Search = Annotated[
    bool, typer.Option("--search", help="Explore techniques, orders and strengths until --budget.")
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="A database URL that searches on several machines share. [default: a file in the "
        "work folder]"
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(help="What the run may take, for example 20m; recipes beyond it are left out."),
]
Work = Annotated[
    Path | None,
    typer.Option(
        help="Keep intermediate files here, for this run to go on when it was interrupted and "
        "for later ones. [default: beside --out, until the run is complete]"
    ),
]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
Quick = Annotated[bool, typer.Option("--quick", help="Measure latency more briefly.")]
Output = Annotated[
    OutputFormat, typer.Option("--output", "-o", help="Print a table or portfolio.json.")
]


def compress_command(
    model: Model,
    data: Data,
    calibration: Calibration = None,
    train: Train = None,
    out: Out = None,
    name: Name = None,
    model_version: ModelVersion = 1,
    recipes: Recipes = None,
    only: Only = None,
    metric: Metric = None,
    jobs: Jobs = 1,
    search: Search = False,
    storage: Storage = None,
    budget: Budget = None,
    work: Work = None,
    seed: Seed = 0,
    quick: Quick = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Build compressed variants of a model, measure each, and write them as a portfolio."""
    from fitment_compress.compress import FULL, QUICK, CompressRequest

    chosen = name or default_name(model)
    request = CompressRequest(
        model=model,
        data=data,
        output=out or Path(f"{chosen}.portfolio"),
        name=chosen,
        model_version=model_version,
        calibration=calibration,
        training=train,
        recipes=recipes,
        only=tuple(only or ()),
        metric=None if metric is None else parse_metric(metric),
        jobs=jobs,
        effort=QUICK if quick else FULL,
        seed=seed,
        budget_seconds=None if budget is None else parse_duration(budget),
        search=search,
        storage=storage,
        work=work,
    )
    portfolio = _compressed(request)
    if output is OutputFormat.JSON:
        typer.echo(portfolio.model_dump_json(indent=2))
        return
    from fitment_compress.report import print_portfolio

    print_portfolio(portfolio, sys.stdout)


def _compressed(request: CompressRequest) -> Portfolio:
    """The portfolio, with progress and failures told on stderr."""
    from fitment_compress.compress import compress
    from fitment_compress.progress import Lines

    progress = Lines(sys.stderr)
    try:
        portfolio = compress(request, progress)
    except CompressError as error:
        progress.end()
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        progress.end()
        typer.echo("interrupted: the same command goes on where this one stopped", err=True)
        raise typer.Exit(130) from None
    progress.end()
    return portfolio


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `20m` or `1.5h`; a plain number is seconds.

    Raises:
        typer.BadParameter: it is something else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is no duration: write 90s, 20m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def default_name(model: Path) -> str:
    """A model name from a file's name: `My Net.onnx` becomes `my-net`."""
    name = re.sub(r"[^a-z0-9._-]+", "-", model.stem.lower()).strip("._-")
    return name[:64] or "model"


def parse_metric(text: str) -> MetricSpec:
    """`topk:k=3,output=1` as a metric with options; values are JSON, else plain text.

    Raises:
        typer.BadParameter: no name, or an option without a value.
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} has no value: write NAME:option=value")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    try:
        return MetricSpec(name=name, options=options)
    except ValueError as error:
        raise typer.BadParameter(f"{name!r} is no name of a metric") from error
