"""What the techniques make of `examples/fashion`, against targets and against other quantisers.

    python bench/compress.py [--work FOLDER] [--seconds 3] [-o markdown|json]

One run makes every recipe of `bench/recipes/fashion.yaml`, lets the peers of `bench/peers` quantise
the same model with the same calibration samples, scores every file on all 10,000 test images with
one and the same code, and times all files in turns on one thread. Latencies are ratios to the
source model's: in each of several blocks, each a fresh process, the medians are divided; quartiles
are over blocks. Everything but the timing is kept in the work folder and found again by the next
run. Training needs PyTorch, the .tflite files need `fitment converter install`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the examples are not installed

import numpy as np
from examples.fashion import data as fashion
from examples.requirements import MissingRequirementError

import peers
from compress_report import Result, as_json, as_markdown
from fitment_compress.child import Child, Limits
from fitment_compress.compress import QUICK, CompressRequest, compress
from fitment_compress.errors import CompressError
from fitment_compress.formats import RUNTIMES
from fitment_compress.host import describe_host, host_facts
from fitment_compress.jobs import ModelFile, TimeJob
from fitment_compress.orders import explain, order_groups
from fitment_compress.packing import encode
from fitment_compress.progress import Lines
from fitment_compress.wording import step_text
from fitment_compress.workspace import Workspace
from fitment_contract.portfolio import Portfolio
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.golden import write_golden
from fitment_runtime.metrics import default_metric, find_metric
from fitment_runtime.scoring import predict
from peers.front import Subject

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "examples" / "fashion" / "model.onnx"
CALIBRATION: Final = ROOT / "examples" / "fashion" / "calibration.npz"
RECIPES: Final = ROOT / "bench" / "recipes" / "fashion.yaml"
WORK: Final = Path(tempfile.gettempdir()) / "fitment-bench-compress"
TFLITE: Final = "tflite-fp32"
"""The recipe whose file the peers for .tflite start from."""

ROUNDS: Final = 20
"""Turns that each file gets in a block."""

PACKAGES: Final = ("onnxruntime", "onnx", "numpy", "torch", "ai-edge-litert", "litert-quantizer")


def measure(options: argparse.Namespace) -> Result:
    """Make, score and time everything."""
    progress = Lines(sys.stderr)
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    test, training = write_data(options.data, work)
    fixed = request(options, test, training)
    portfolio = compress(fixed, progress)
    source = Subject("source", "", SOURCE, "onnx", parameters=portfolio.source.parameters)
    own, failures = variants(portfolio, fixed.output)
    found = searched(fixed, options.search, progress) if options.search else []
    others, refused = ([], []) if options.no_peers else peer_files(own, options.peers, work)
    subjects = [source, *own, *found, *others]
    progress.stage("scoring", len(subjects))
    failures += refused + score(subjects, test, work / "scores", progress)
    scored = [subject for subject in subjects if subject.values is not None]
    loads = [os.getloadavg()[0]]
    time_in_blocks(scored, test, work / "timing", options, progress)
    loads.append(os.getloadavg()[0])
    progress.end()
    return Result(
        source=source,
        own=[subject for subject in scored if subject in own],
        found=[subject for subject in scored if subject in found],
        others=[subject for subject in scored if subject in others],
        failures=failures,
        orders=[explain(group) for group in order_groups(portfolio)],
        header=header(loads),
    )


def write_data(folder: Path, work: Path) -> tuple[Path, Path]:
    """All test images and all training images, labelled; once, so that what was made holds."""
    files = []
    for split, name in (("t10k", "test.npz"), ("train", "training.npz")):
        path = work / name
        if not path.is_file():
            scratch = path.with_name(f"new-{name}")
            arrays = fashion.labelled(*fashion.load(folder, split))
            np.savez(scratch, **arrays)  # type: ignore[arg-type]  # its stub takes names for options
            scratch.replace(path)
        files.append(path)
    return files[0], files[1]


def request(options: argparse.Namespace, test: Path, training: Path) -> CompressRequest:
    """What Fitment is asked for; latencies are measured here, with the peers', not there."""
    return CompressRequest(
        model=SOURCE,
        data=test,
        calibration=CALIBRATION,
        training=training,
        recipes=options.recipes,
        only=tuple(options.only),
        output=options.work.absolute() / "portfolio",
        name="fashion",
        effort=QUICK,
        jobs=options.jobs,
        work=options.work.absolute() / "stages",
    )


def variants(
    portfolio: Portfolio, folder: Path, tool: str = "fitment"
) -> tuple[list[Subject], list[tuple[str, str]]]:
    """Our files, and the recipes that failed."""
    made, failed = [], []
    for entry in portfolio.entries:
        if entry.variant is None:
            failed.append((entry.name, entry.failure or ""))
        elif entry.recipe:
            made.append(
                Subject(
                    name=entry.name,
                    tool=tool,
                    path=folder / "blobs" / entry.variant.artifact.digest,
                    format=entry.variant.format,
                    steps=" → ".join(step_text(step) for step in entry.recipe),
                    parameters=entry.parameters,
                )
            )
    return made, failed


def searched(fixed: CompressRequest, minutes: float, progress: Lines) -> list[Subject]:
    """The front that a search finds from the default recipes, without those of the table."""
    assert fixed.work is not None
    wanted = replace(
        fixed,
        recipes=None,
        only=(),
        output=fixed.output.with_name("search-portfolio"),
        work=fixed.work.with_name("search-stages"),
        search=True,
        budget_seconds=60 * minutes,
    )
    portfolio = compress(wanted, progress)
    front = {entry.name for entry in portfolio.listed() if entry.pareto}
    made, _ = variants(portfolio, wanted.output, "fitment --search")
    return [subject for subject in made if subject.name in front]


def peer_files(
    own: Sequence[Subject], environments: Path | None, work: Path
) -> tuple[list[Subject], list[tuple[str, str]]]:
    """The peers' files, and what they could not make."""
    made, failed = [], []
    sources = {"onnx": SOURCE, **{one.format: one.path for one in own if one.name == TFLITE}}
    for peer in peers.PEERS:
        if peer.reads not in sources:
            failed.append((peer.name, f"the recipe {TFLITE} made no file to start from"))
            continue
        for one in peers.run(
            *(peer, sources[peer.reads], CALIBRATION),
            *(environments or work / "environments", work / "peers", tell),
        ):
            if one.file is None:
                failed.append((f"{peer.name} {one.setting}".strip(), one.failure))
            else:
                tool = f"{peer.name} {one.versions[0].split()[-1]}"
                made.append(Subject(one.setting, tool, one.file, peer.reads))
    return made, failed


def tell(text: str) -> None:
    """Progress of the peers."""
    print(text, file=sys.stderr, flush=True)


def score(
    subjects: Sequence[Subject], test: Path, folder: Path, progress: Lines
) -> list[tuple[str, str]]:
    """Give every subject its decisions and its smallest encoding; name those that do not run."""
    folder.mkdir(exist_ok=True)
    failed = []
    for subject in subjects:
        content = subject.path.read_bytes()
        kept = folder / f"{peers.digest(content)}.npz"
        try:
            if not kept.is_file():
                values, packed = right(subject, test), min(len(encode(content)), len(content))
                scratch = kept.with_name(f"new-{kept.name}")
                np.savez(scratch, values=values, packed=packed)
                scratch.replace(kept)  # whoever is interrupted here kept nothing
            with np.load(kept) as archive:
                subject.values, subject.packed_bytes = archive["values"], int(archive["packed"])
        except Exception as error:  # noqa: BLE001 - whatever a file does when it is run
            failed.append((subject.label, f"does not run: {error}"))
        progress.step(subject.label)
    return failed


def right(subject: Subject, test: Path) -> np.ndarray:
    """Per test image 1.0 where the decision is right."""
    session = find_runtime(RUNTIMES[subject.format]).load(subject.path)
    dataset = load_dataset(test, session.inputs)
    assert dataset.label is not None
    metric = find_metric(default_metric(dataset.label))
    values: np.ndarray = metric.values(predict(session, dataset), dataset.label)
    return values


def time_in_blocks(
    subjects: Sequence[Subject],
    test: Path,
    folder: Path,
    options: argparse.Namespace,
    progress: Lines,
) -> None:
    """Time all subjects in turns, in several fresh processes, on one thread."""
    workspace = Workspace(folder)
    models = []
    for number, subject in enumerate(subjects):
        files = workspace.stage(f"subject-{number}")
        files.model(subject.format).write_bytes(subject.path.read_bytes())
        session = find_runtime(RUNTIMES[subject.format]).load(subject.path)
        write_golden(files.golden, session, load_dataset(test, session.inputs))
        models.append(ModelFile(key=f"subject-{number}", format=subject.format))
    job = TimeJob(
        workspace=str(folder),
        models=tuple(models),
        rounds=ROUNDS,
        seconds=options.seconds / options.blocks,
    )
    progress.stage("timing in turns", options.blocks)
    for block in range(options.blocks):
        with Child(Limits()) as child:
            latencies = child.ask(job).latencies
        for model, subject in zip(models, subjects, strict=True):
            subject.seconds.append(latencies[model.key].p50_seconds)
        progress.step(f"block {block + 1}")


def header(loads: Sequence[float]) -> dict[str, str]:
    """Where, when and with what."""
    return {
        "machine": describe_host(host_facts()),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {installed(name)}" for name in PACKAGES),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "load": "load average at the begin and the end of the timing "
        + " and ".join(f"{load:.1f}" for load in loads),
        "command": shlex.join(["python", "bench/compress.py", *sys.argv[1:]]),
    }


def installed(name: str) -> str:
    """The version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=fashion.DEFAULT_PATH, help="folder of the *-ubyte.gz files")
    add("--recipes", type=Path, default=RECIPES, help="what to make")
    add("--only", action="append", default=[], metavar="NAME", help="make only this recipe; again")
    add("--seconds", type=float, default=3.0, help="timed seconds for each file, over all blocks")
    add("--blocks", type=int, default=12, help="fresh processes that the timing is spread over")
    add("--search", type=float, metavar="MINUTES", help="also search, for so long")
    add("--jobs", type=int, default=2, help="recipes made at a time; timing is never parallel")
    add("--work", type=Path, default=WORK, help="kept for the next run (default: %(default)s)")
    add("--peers", type=Path, help="folder for the peers' environments (default: in --work)")
    add("--no-peers", action="store_true", help="leave the other quantisers out")
    add("-o", "--output", choices=("markdown", "json"), default="markdown")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a target is missed."""
    options = parse(argv)
    try:
        result = measure(options)
    except (CompressError, MissingRequirementError) as error:
        sys.exit(str(error))
    if options.output == "json":
        print(json.dumps(as_json(result), indent=2))
    else:
        print(as_markdown(result))
    return 0 if result.meets_targets else 1


if __name__ == "__main__":
    sys.exit(main())
