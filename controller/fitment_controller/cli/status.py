"""`fitment status`: the one-screen state."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.failures import ExitStatus
from fitment_controller.cli.output import Format, Item, plain, rows, state


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("status")(show_status)


def show_status(
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show fleet, rollouts and what needs attention. Exit status 1 when the controller is ill."""
    document = options.client(url, token_file, data).get("/v1/status")
    output.emit(document, format, _table, name="version")
    if not document["healthy"]:
        raise typer.Exit(ExitStatus.ERROR)


def _table(status: Item) -> Iterator[str]:
    broker = status["broker"]
    connection = "connected" if broker["connected"] else "NOT connected"
    yield f"broker    {broker['engine']} at {broker['url']}, {connection}"
    yield (
        f"devices   {status['device_count']}: {status['online_count']} online, "
        f"{status['offline_count']} offline"
    )
    dropped = sum(broker["dropped"].values())
    if dropped:
        yield f"dropped   {dropped} messages: " + ", ".join(
            f"{count} {reason}" for reason, count in broker["dropped"].items()
        )
    if status["variants"]:
        yield ""
        yield from rows(
            [
                ("REGION", lambda cell: cell["region"]),
                ("CLASS", lambda cell: cell["device_class"]),
                ("MODEL", lambda cell: cell["model"]),
                ("VARIANT", lambda cell: plain(cell["variant"])),
                ("MODE", lambda cell: plain(cell["mode"])),
                ("PHASE", lambda cell: state(cell["phase"])),
                ("WAITS FOR", lambda cell: plain(cell["wait_reason"])),
                ("DEVICES", lambda cell: str(cell["count"])),
            ],
            status["variants"],
        )
    for row in status["active_rollouts"]:
        yield ""
        yield (
            f"rollout {row['id']}: {row['model']}@{row['model_version']} {row['state']}, "
            f"{row['succeeded_count']}/{row['device_count']} devices. {row['reason']}"
        )
    if status["attention"]:
        yield ""
        yield "needs attention"
        for entry in status["attention"]:
            where = entry["device"] or entry["rollout"] or entry["actor"]
            yield f"  {entry['level']}: {where}: {entry['message']}"
