"""Plans and rollouts as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from fitment_controller.cli import output
from fitment_controller.cli.output import Item, duration, number, plain, size
from fitment_controller.cli.words import low_power_limits


def plan(document: Item) -> Iterator[str]:
    """Who gets what, what it moves, and who gets nothing."""
    yield (
        f"{document['model']}@{document['model_version']}, objective {document['objective']}: "
        f"{len(document['devices'])} devices change, {len(document['unchanged'])} stay, "
        f"{len(document['unplaceable'])} cannot be placed"
    )
    if document["devices"]:
        yield ""
        yield from output.rows(
            [
                ("DEVICE", lambda item: item["device"]),
                ("CLASS", lambda item: item["device_class"]),
                ("REGION", lambda item: item["region"]),
                ("BEFORE", lambda item: item["before"]["variant"] if item["before"] else "-"),
                ("AFTER", lambda item: item["after"]["variant"]),
                ("BYTES", lambda item: size(item["link_bytes"])),
                ("WHY", lambda item: item["reason"]),
            ],
            document["devices"],
        )
    yield from _low_power(document)
    if document["unplaceable"]:
        yield ""
        yield from output.rows(
            [
                ("UNPLACEABLE", lambda item: item["device"]),
                ("CLASS", lambda item: item["device_class"]),
                ("REGION", lambda item: item["region"]),
                ("WHY", lambda item: item["reason"]),
                ("REMEDY", lambda item: plain(item["remedy"])),
            ],
            document["unplaceable"],
        )
    if document["regions"]:
        yield ""
        yield from output.rows(
            [
                ("REGION", lambda item: item["region"]),
                ("DEVICES", lambda item: str(item["device_count"])),
                ("BYTES", lambda item: size(item["link_bytes"])),
                ("PER DEVICE", lambda item: duration(item["seconds_per_device"])),
                ("PRICE", lambda item: number(item["price"])),
            ],
            document["regions"],
        )


def _low_power(document: Item) -> Iterator[str]:
    """Who gets which second variant, and who gets none."""
    pairs = [item for item in document["devices"] if item["after"]["low_power"]]
    if pairs:
        yield ""
        yield from output.rows(
            [
                ("LOW POWER", lambda item: item["device"]),
                ("VARIANT", lambda item: item["after"]["low_power"]["variant"]),
                ("USED", lambda item: low_power_limits(item["after"]["low_power"])),
                ("OF THE BYTES", lambda item: size(item["low_power_link_bytes"])),
                ("WHY", lambda item: item["low_power_reason"]),
            ],
            pairs,
        )
    if document["without_low_power"]:
        yield ""
        yield from output.rows(
            [
                ("NO LOW POWER", lambda item: item["device"]),
                ("CLASS", lambda item: item["device_class"]),
                ("REGION", lambda item: item["region"]),
                ("WHY", lambda item: item["reason"]),
                ("REMEDY", lambda item: plain(item["remedy"])),
            ],
            document["without_low_power"],
        )


def listing(document: Item) -> list[str]:
    """One line per rollout."""
    return output.rows(
        [
            ("ROLLOUT", lambda item: item["id"]),
            ("MODEL", lambda item: f"{item['model']}@{item['model_version']}"),
            ("OBJECTIVE", lambda item: item["objective"]),
            ("STATE", lambda item: output.state(item["state"])),
            ("DEVICES", lambda item: f"{item['succeeded_count']}/{item['device_count']}"),
            ("STARTED", lambda item: output.ago(item["created_at"])),
            ("BY", lambda item: item["actor"]),
            ("WHY", lambda item: plain(item["reason"])),
        ],
        document["items"],
    )


def detail(rollout: Item) -> Iterator[str]:
    """State and cause first, then the strata."""
    yield (
        f"{rollout['id']}: {rollout['model']}@{rollout['model_version']}, "
        f"{output.paint(output.state(rollout['state']))}, "
        f"{rollout['succeeded_count']}/{rollout['device_count']} devices"
    )
    if rollout["reason"]:
        yield rollout["reason"]
    second = rollout["low_power"]
    if second:
        which = second["variant"] or f"best by {second['objective']}"
        yield f"low power: {which}, {low_power_limits(second)}"
    yield ""
    yield from output.rows(
        [
            ("STRATUM", lambda item: item["id"]),
            ("STATE", lambda item: output.state(item["state"])),
            ("WAVE", lambda item: str(item["wave"])),
            ("DEVICES", lambda item: counts(item["counts"])),
            ("WHY", lambda item: plain(item["reason"])),
        ],
        rollout["strata"],
    )
    if rollout["next_step"]:
        yield ""
        yield f"next: {rollout['next_step']}"


def explanation(document: Item) -> Iterator[str]:
    """Gates with their numbers, then the devices that failed."""
    yield f"{document['id']}: {output.paint(output.state(document['state']))}"
    if document["reason"]:
        yield document["reason"]
    if document["gates"]:
        yield ""
        yield from output.rows(
            [
                ("STRATUM", lambda item: item["stratum"]),
                ("GATE", lambda item: item["name"]),
                ("VERDICT", lambda item: output.state(item["verdict"])),
                ("VALUE", lambda item: number(item["value"])),
                ("THRESHOLD", lambda item: number(item["threshold"])),
                ("N", lambda item: str(item["n"])),
                ("WHY", lambda item: item["reason"]),
            ],
            document["gates"],
        )
    if document["failed"]:
        yield ""
        yield from output.rows(
            [
                ("FAILED", lambda item: item["device"]),
                ("STRATUM", lambda item: item["stratum"]),
                ("STATE", lambda item: output.state(item["state"])),
                ("VARIANT", lambda item: item["variant"]),
                ("REASON", lambda item: plain(item["failure"])),
                ("DETAIL", lambda item: plain(item["reason"])),
            ],
            document["failed"],
        )


def counts(by_state: Item) -> str:
    """`3 succeeded, 1 pending`."""
    return ", ".join(f"{count} {state}" for state, count in by_state.items() if count) or "-"
