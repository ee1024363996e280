"""The story of `fitment demo`: compress, start, join, plan, roll out, and look at what changed.

Everything in it is the real thing: real compression, a real controller with its broker and
database, and a real agent process per device. Only the devices' facts are declared, and every
place that shows such a device says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitment_compress.compress import QUICK, CompressRequest, compress
from fitment_compress.errors import CompressError
from fitment_contract.portfolio import Portfolio
from fitment_controller.cli.demo.fleet import DEVICES, prepare_agent, running_agent
from fitment_controller.cli.demo.narrator import Narrator
from fitment_controller.cli.demo.process import ChildProcess, DemoError, wait_until
from fitment_controller.cli.demo.report import DemoReport, demo_variants, device_result
from fitment_controller.client import Client

STAGES = 6
_UP_SECONDS = 60.0
_JOIN_SECONDS = 60.0
_ROLLOUT_SECONDS = 180.0
_TRIAL_SECONDS = "2"
"""All devices are this one machine, and they measure in turns."""


@dataclass(frozen=True)
class DemoOptions:
    """What the person asked for.

    Attributes:
        example: a folder under `examples/`.
        examples: where the examples lie.
        folder: for everything that the demonstration writes.
    """

    example: str
    examples: Path
    folder: Path


@contextmanager
def running_demo(options: DemoOptions, narrator: Narrator) -> Iterator[DemoReport]:
    """Play the story; controller and agents run until the context ends.

    Raises:
        DemoError: a stage did not get where it should.
        ControllerError: the controller refused something.
    """
    begin = time.monotonic()
    portfolio_folder = options.folder / "portfolio"
    portfolio = _compress(options, portfolio_folder, narrator)
    with ExitStack() as stack:
        client, headquarters, ready = stack.enter_context(_headquarters(options, narrator))
        children = [headquarters, *_join(stack, options, ready["broker_url"], client, narrator)]
        whys = _plan(client, portfolio_folder, portfolio, narrator)
        rollout = _roll_out(client, portfolio.model, children, narrator)
        narrator.heading("Result", "what each device got, and what its measurements change")
        yield DemoReport(
            example=options.example,
            portfolio=demo_variants(portfolio),
            devices=tuple(
                device_result(
                    page := client.get(f"/v1/devices/{device.id}"),
                    next(model for model in page["models"] if model["model"] == portfolio.model),
                    whys[device.id],
                    _why(client, device.id, portfolio.model),
                )
                for device in DEVICES
            ),
            rollout=rollout,
            wall_seconds=round(time.monotonic() - begin, 1),
            url=ready["url"],
        )


def _compress(options: DemoOptions, output: Path, narrator: Narrator) -> Portfolio:
    source = options.examples / options.example
    narrator.heading("Compress", f"{options.example}/model.onnx becomes a portfolio of variants")
    request = CompressRequest(
        model=source / "model.onnx",
        data=source / "eval.npz",
        calibration=source / "calibration.npz",
        output=output,
        name=options.example,
        effort=QUICK,
    )
    try:
        portfolio = compress(request, narrator)
    except CompressError as error:
        raise DemoError(f"the example could not be compressed: {error}") from None
    listed = portfolio.listed()
    front = [entry.name for entry in listed if entry.pareto]
    narrator.say(f"{len(listed)} variants, on the Pareto front: {', '.join(front)}")
    for entry in portfolio.entries:
        if entry.failure:
            narrator.say(f"{entry.name} failed: {entry.failure}", "yellow")
    return portfolio


@contextmanager
def _headquarters(
    options: DemoOptions, narrator: Narrator
) -> Iterator[tuple[Client, ChildProcess, dict[str, Any]]]:
    narrator.heading("Headquarters", "broker, database, API and artifacts in one process tree")
    data, ready_file = options.folder / "data", options.folder / "ready.json"
    command = [
        *(sys.executable, "-m", "fitment_controller", "up"),
        *("--data", str(data), "--port", "0", "--broker-port", "0"),
        *("--ready-file", str(ready_file), "--trial-seconds", _TRIAL_SECONDS),
    ]
    with ChildProcess("fitment up", command, options.folder / "controller.log") as child:
        wait_until(ready_file.exists, "starting the controller", _UP_SECONDS, [child])
        ready = json.loads(ready_file.read_text())
        narrator.say(f"{ready['url']}  broker {ready['broker_url']}")
        yield Client(ready["url"]), child, ready


def _join(
    stack: ExitStack, options: DemoOptions, broker_url: str, client: Client, narrator: Narrator
) -> list[ChildProcess]:
    narrator.heading("Devices", f"{len(DEVICES)} agent processes with declared facts (simulated)")
    folder = options.folder / "devices"
    folder.mkdir()
    agents = [
        stack.enter_context(
            running_agent(
                prepare_agent(device, options.examples, options.example, options.example, folder),
                broker_url,
            )
        )
        for device in DEVICES
    ]
    joined: list[dict[str, Any]] = []

    def all_joined() -> bool:
        joined[:] = [row for row in client.get("/v1/devices")["items"] if row["online"]]
        narrator.live(f"{len(joined)}/{len(DEVICES)} joined")
        return len(joined) == len(DEVICES)

    wait_until(all_joined, "joining the fleet", _JOIN_SECONDS, agents)
    for row in sorted(joined, key=lambda row: str(row["region"])):
        power = row["power_source"]
        if row["charge_ratio"] is not None:
            power += f" {row['charge_ratio']:.0%}"
        meter = ", metered" if row["metered"] else ""
        narrator.say(
            f"{row['id']:<15} {row['device_class']:<14} {row['region']:<12} {power}, "
            f"{row['link']}{meter}"
        )
    return agents


def _plan(
    client: Client, folder: Path, portfolio: Portfolio, narrator: Narrator
) -> dict[str, dict[str, Any]]:
    """Push the portfolio and show the plan; returns each device's selection."""
    narrator.heading("Plan", "who would get what, and why")
    _push(client.url, folder)
    plan = client.post("/v1/plan", {"model": portfolio.model})
    for device in plan["devices"]:
        narrator.say(f"{device['device']:<15} {device['after']['variant']:<36} {device['reason']}")
    for device in plan["unplaceable"]:
        narrator.say(f"{device['device']:<15} nothing fits: {device['reason']}", "yellow")
    return {device.id: _why(client, device.id, portfolio.model) for device in DEVICES}


def _push(url: str, folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "fitment_controller"),
        *("model", "push", str(folder), "--url", url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"pushing the portfolio failed: {done.stderr.strip()}")


def _why(client: Client, device: str, model: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/v1/devices/{device}/why", {"model": model})
    return answer


def _roll_out(
    client: Client, model: str, children: Sequence[ChildProcess], narrator: Narrator
) -> dict[str, Any]:
    narrator.heading("Roll out", "each device fetches, verifies, tries, benchmarks and activates")
    rollout: dict[str, Any] = client.post("/v1/rollouts", {"model": model})
    told: dict[str, str] = {}

    def done() -> bool:
        rollout.update(client.get(f"/v1/rollouts/{rollout['id']}"))
        _tell_phases(client, model, told, narrator)
        return bool(rollout["done"])

    wait_until(done, "the rollout", _ROLLOUT_SECONDS, children)
    narrator.say(f"{rollout['state']}: {rollout['reason'] or _counts(rollout['counts'])}")
    return rollout


def _tell_phases(client: Client, model: str, told: dict[str, str], narrator: Narrator) -> None:
    """One line per device that arrived somewhere; what is on its way shows in the live line."""
    phases: Counter[str] = Counter()
    for row in client.get("/v1/devices")["items"]:
        entry: dict[str, Any] = next((item for item in row["models"] if item["model"] == model), {})
        phase = entry.get("phase") or "assigned"
        phases[phase] += 1
        if phase in ("active", "rolled_back") and told.get(row["id"]) != phase:
            told[row["id"]] = phase
            failure = entry.get("failure")
            why = f": {failure['reason']}, {failure['detail']}" if failure else ""
            narrator.say(f"{row['id']:<15} {phase}  {entry.get('active') or ''}{why}")
    narrator.live(_counts(phases))


def _counts(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def find_examples() -> Path:
    """The examples that came with the package, or those of the checkout.

    Raises:
        DemoError: neither is there.
    """
    package = Path(__file__).parents[2]
    for folder in (package / "_examples", package.parents[1] / "examples"):
        if (folder / "fleet").is_dir():
            return folder
    raise DemoError(
        "the example models are missing from this installation",
        "Install fitment from its wheel, or run from a checkout",
    )


def example_names(examples: Path) -> list[str]:
    """Folders with a model in them."""
    return sorted(path.parent.name for path in examples.glob("*/model.onnx"))
