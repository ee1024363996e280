"""`fitment technique` and `fitment portfolio`: what can be done to a model, and what was done."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fitment_compress.cli import Output, OutputFormat
from fitment_compress.errors import CompressError

_techniques = typer.Typer(help="Compression techniques.", no_args_is_help=True)
_portfolios = typer.Typer(help="Portfolios that were made.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.add_typer(_techniques, name="technique")
    app.add_typer(_portfolios, name="portfolio")


@_techniques.command("list")
def list_techniques(output: Output = OutputFormat.TABLE) -> None:
    """Every technique with its options and their defaults, as recipes write them."""
    from fitment_compress.techniques import known_techniques

    rows = [
        {
            "technique": name,
            "summary": technique.summary,
            "reads": technique.reads,
            "writes": technique.writes,
            "learns": technique.learns,
            "options": json.loads(technique.options().model_dump_json()),
        }
        for name, technique in sorted(known_techniques().items())
    ]
    if output is OutputFormat.JSON:
        document = {"apiVersion": "fitment/v1", "kind": "TechniqueList", "items": rows}
        typer.echo(json.dumps(document, indent=2))
        return
    for row in rows:
        learns = "  (learns: needs PyTorch)" if row["learns"] else ""
        typer.echo(f"{row['technique']:<20} {row['summary']}{learns}")
        typer.echo(f"{'':<20} {json.dumps(row['options'])}")


@_portfolios.command("show")
def show_portfolio(
    folder: Annotated[Path, typer.Argument(help="What `fitment compress` wrote.")],
    recipe: Annotated[
        str | None, typer.Argument(help="One recipe: what each of its steps did.")
    ] = None,
) -> None:
    """The table of a portfolio, or what each step of one recipe did."""
    from fitment_compress.portfolio import read_portfolio
    from fitment_compress.report import print_portfolio, print_recipe

    try:
        portfolio = read_portfolio(folder)
        if recipe is None:
            print_portfolio(portfolio, sys.stdout)
        else:
            print_recipe(portfolio, recipe, sys.stdout)
    except CompressError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
