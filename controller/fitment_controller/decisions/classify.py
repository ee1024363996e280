"""Facts to device class: the first class, by priority, of which one alternative matches."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from fitment_contract.device import DeviceFacts
from fitment_controller.profiles import Profiles
from fitment_controller.profiles.kinds import UNASSIGNED, DeviceClass, Match, Region


def classify(facts: DeviceFacts, classes: Sequence[DeviceClass]) -> DeviceClass:
    """The class of a device; `classes` in the order in which they are tried.

    Raises:
        ValueError: none matches, which a class that matches everything prevents.
    """
    for candidate in classes:
        if any(matches(facts, alternative) for alternative in candidate.match):
            return candidate
    raise ValueError("no device class matches; the set lacks one that matches everything")


def matches(facts: DeviceFacts, match: Match) -> bool:
    """Whether all conditions hold. An unknown fact satisfies no condition about it."""
    hardware = facts.hardware
    isa = set(hardware.isa)
    return (
        _one_of(match.architecture, hardware.architecture)
        and _one_of(match.soc, hardware.soc)
        and _one_of(match.board, hardware.board)
        and _one_of(match.os, facts.os.name)
        and set(match.isa_all_of) <= isa
        and (not match.isa_any_of or bool(isa & set(match.isa_any_of)))
        and not isa & set(match.isa_none_of)
        and (
            not match.accelerators_any_of
            or bool(set(match.accelerators_any_of) & set(hardware.accelerators))
        )
        and _within(hardware.memory_bytes, match.memory_min_bytes, match.memory_max_bytes)
    )


def region_of(facts: DeviceFacts, profiles: Profiles, default: str | None) -> Region:
    """The region that a device names, else the default, else one without rules.

    Raises:
        NotFoundError: the default is none that a profile describes.
    """
    if facts.region is not None and facts.region in profiles.regions:
        return profiles.regions[facts.region]
    return profiles.region(default) if default is not None else UNASSIGNED


def _one_of(patterns: Sequence[str], value: str | None) -> bool:
    if not patterns:
        return True
    return value is not None and any(
        fnmatchcase(value.lower(), pattern.lower()) for pattern in patterns
    )


def _within(value: int | None, low: int | None, high: int | None) -> bool:
    if low is None and high is None:
        return True
    return value is not None and (low or 0) <= value and (high is None or value <= high)
