"""The only place that spells topics.

`{root}/v1/up/{device}/{channel}` and `{root}/v1/down/{device}/{channel}`: the direction comes
first, so that a broker's access rules are two pattern lines.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from fitment_contract.errors import TopicError

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROOT = re.compile(r"[^+#\s/]+(/[^+#\s/]+)*")

DEFAULT_ROOT: Final = "fitment"


class UpChannel(str, Enum):
    """Kinds of messages from devices, and the last level of their topics."""

    BIRTH = "birth"
    DEATH = "death"
    VITALS = "vitals"
    REPORTED = "reported"
    BENCH = "bench"
    EVENT = "event"


class DownChannel(str, Enum):
    """Kinds of messages to devices, and the last level of their topics."""

    DESIRED = "desired"
    COMMAND = "cmd"


class UpTopic(NamedTuple):
    """A parsed upward topic."""

    device: str
    channel: UpChannel


class DownTopic(NamedTuple):
    """A parsed downward topic."""

    device: str
    channel: DownChannel


class Topics:
    """Builds and parses topics under one root.

    Args:
        root: leading levels, for brokers shared between tenants.

    Raises:
        TopicError: the root holds wildcards, spaces or empty levels.
    """

    def __init__(self, root: str = DEFAULT_ROOT) -> None:
        if not _ROOT.fullmatch(root):
            raise TopicError(f"root {root!r} must be levels without wildcards, spaces or gaps")
        self._prefix = f"{root}/v1"

    def up(self, device: str, channel: UpChannel) -> str:
        """The topic on which `device` publishes `channel`."""
        return f"{self._prefix}/up/{_checked(device)}/{channel.value}"

    def down(self, device: str, channel: DownChannel) -> str:
        """The topic on which `device` is told `channel`."""
        return f"{self._prefix}/down/{_checked(device)}/{channel.value}"

    def all_up(self) -> str:
        """The filter for everything that devices say."""
        return f"{self._prefix}/up/+/+"

    def all_down(self) -> str:
        """The filter for everything that devices are told; access rules name it."""
        return f"{self._prefix}/down/+/+"

    def parse(self, topic: str) -> UpTopic | DownTopic:
        """What `topic` stands for.

        Raises:
            TopicError: it is not one of this contract's topics under this root.
        """
        prefix, _, rest = topic.partition(f"{self._prefix}/")
        levels = rest.split("/")
        if prefix or len(levels) != 3:
            raise TopicError(
                f"{topic!r} is not under {self._prefix}/<direction>/<device>/<channel>"
            )
        direction, device, channel = levels
        try:
            if direction == "up":
                return UpTopic(_checked(device), UpChannel(channel))
            if direction == "down":
                return DownTopic(_checked(device), DownChannel(channel))
        except ValueError:
            raise TopicError(f"{topic!r} has no channel {channel!r}") from None
        raise TopicError(f"{topic!r} goes neither up nor down")


def _checked(device: str) -> str:
    if not _DEVICE.fullmatch(device):
        raise TopicError(
            f"device id {device!r} must be 1 to 64 letters, digits, dots, underscores or dashes, "
            "and begin with a letter or digit"
        )
    return device
