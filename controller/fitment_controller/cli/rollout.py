"""`fitment plan` and `fitment rollout`: who gets what, and getting it there."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from fitment_controller.cli import options, output, rollout_tables
from fitment_controller.cli.device import Selector
from fitment_controller.cli.failures import ExitStatus, say
from fitment_controller.cli.output import Format, size
from fitment_controller.cli.rollout_request import (
    AboveTemperature,
    BelowCharge,
    LowPowerObjective,
    LowPowerVariant,
    Model,
    Objective,
    Region,
    RequestFile,
    Variant,
    low_power,
    read_request,
)
from fitment_controller.cli.waiting import wait_for_end
from fitment_controller.client import Client, quoted

_rollouts = typer.Typer(help="Move devices to better variants, carefully.", no_args_is_help=True)

Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, help="Wait this many seconds at most.", show_default=False),
]
RolloutId = Annotated[str, typer.Argument(metavar="ID", help="The rollout's id.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("plan")(show_plan)
    app.add_typer(_rollouts, name="rollout")


def show_plan(
    file: RequestFile = None,
    model: Model = None,
    objective: Objective = None,
    variant: Variant = None,
    low_power_variant: LowPowerVariant = None,
    low_power_objective: LowPowerObjective = None,
    below_charge: BelowCharge = None,
    above_temperature: AboveTemperature = None,
    region: Region = None,
    selector: Selector = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show who would get what, and why.

    Also the bytes per region, and who cannot be placed. Exit status 5 when it cannot be started.
    """
    second = low_power(low_power_variant, low_power_objective, below_charge, above_temperature)
    request = read_request(file, model, objective, variant, second, region, selector)
    plan = options.client(url, token_file, data).post("/v1/plan", request)
    output.emit(plan, format, rollout_tables.plan, name="model")
    _refuse(plan)


@_rollouts.callback()
def _rollout() -> None:
    """Move devices to better variants, carefully."""


@_rollouts.command("start")
def start(
    file: RequestFile = None,
    model: Model = None,
    objective: Objective = None,
    variant: Variant = None,
    low_power_variant: LowPowerVariant = None,
    low_power_objective: LowPowerObjective = None,
    below_charge: BelowCharge = None,
    above_temperature: AboveTemperature = None,
    region: Region = None,
    selector: Selector = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan only.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until it has ended.")] = False,
    timeout: Timeout = None,
    yes: options.Yes = False,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Start a rollout. With -w, exit status 7 when it failed or was aborted, 8 on timeout."""
    second = low_power(low_power_variant, low_power_objective, below_charge, above_temperature)
    request = read_request(file, model, objective, variant, second, region, selector)
    api = options.client(url, token_file, data)
    if dry_run:
        plan = api.post("/v1/plan", request)
        output.emit(plan, format, rollout_tables.plan, name="model")
        _refuse(plan)
        return
    if not yes and sys.stdin is not None and sys.stdin.isatty():
        _confirm(api.post("/v1/plan", request))
    rollout = api.post("/v1/rollouts", request)
    say(f"started rollout {rollout['id']}")
    if wait:
        raise typer.Exit(wait_for_end(api, rollout["id"], format, timeout))
    output.emit(rollout, format, rollout_tables.detail)
    say(f"next: fitment rollout get {rollout['id']} --watch")


@_rollouts.command("list")
def list_rollouts(
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """List rollouts, newest first."""
    items = list(options.client(url, token_file, data).pages("/v1/rollouts"))
    document = {"apiVersion": "fitment/v1", "kind": "RolloutList", "items": items, "next": None}
    output.emit(document, format, rollout_tables.listing)


@_rollouts.command("get")
def get_rollout(
    id: RolloutId,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Until it has ended.")] = False,
    timeout: Timeout = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show a rollout: state, strata and counts. With -w, as `start -w` does."""
    api = options.client(url, token_file, data)
    if watch:
        raise typer.Exit(wait_for_end(api, id, format, timeout))
    output.emit(api.get(f"/v1/rollouts{quoted(id)}"), format, rollout_tables.detail)


@_rollouts.command("explain")
def explain_rollout(
    id: RolloutId,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show every gate's numbers and what failed."""
    api = options.client(url, token_file, data)
    output.emit(api.get(f"/v1/rollouts{quoted(id)}/explain"), format, rollout_tables.explanation)


@_rollouts.command("pause")
def pause(
    id: RolloutId,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Assign no further device; those on their way finish."""
    _steer(options.client(url, token_file, data), id, "pause", format)
    say(f"paused; next: fitment rollout resume {id}")


@_rollouts.command("resume")
def resume(
    id: RolloutId,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Go on where it was paused."""
    _steer(options.client(url, token_file, data), id, "resume", format)
    say(f"resumed; next: fitment rollout get {id} --watch")


@_rollouts.command("abort")
def abort(
    id: RolloutId,
    revert: Annotated[
        bool, typer.Option("--revert/--keep", help="Take back what already arrived, or keep it.")
    ] = False,
    yes: options.Yes = False,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """End a rollout. Devices keep the new variant, or go back with --revert."""
    api = options.client(url, token_file, data)
    if not yes and sys.stdin is not None and sys.stdin.isatty():
        row = api.get(f"/v1/rollouts{quoted(id)}")
        what = "take back" if revert else "keep"
        typer.confirm(
            f"Abort {id} and {what} the new variant on {row['succeeded_count']} devices?",
            abort=True,
            err=True,
        )
    _steer(api, id, "abort", format, {"revert": revert})
    say(f"aborted; next: fitment rollout explain {id}")


def _steer(
    api: Client, id: str, verb: str, format: Format, body: dict[str, Any] | None = None
) -> None:
    rollout = api.post(f"/v1/rollouts{quoted(id)}/{verb}", body)
    output.emit(rollout, format, rollout_tables.detail)


def _confirm(plan: dict[str, Any]) -> None:
    moved = sum(region["link_bytes"] for region in plan["regions"])
    typer.confirm(
        f"Change {len(plan['devices'])} devices in {len(plan['regions'])} regions, "
        f"{size(moved)} over their links?",
        abort=True,
        err=True,
    )


def _refuse(plan: dict[str, Any]) -> None:
    """Ends with 5 when the plan cannot be started; having nothing to change is no failure."""
    if plan["unchanged"] and not plan["devices"]:
        say("nothing to change: every device that can be placed runs its pick")
        return
    for reason in plan["refusals"]:
        say(f"cannot be started: {reason}")
    if plan["refusals"]:
        raise typer.Exit(ExitStatus.CONFLICT)
