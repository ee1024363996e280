"""What an operator can turn, and the only reader of the environment.

A flag wins over its `FITMENT_*` variable, which wins over the default. Secrets are never values
here: settings name the files that hold them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fitment_contract.topics import DEFAULT_ROOT
from fitment_controller.errors import ControllerError

if TYPE_CHECKING:
    from fitment_contract.benchmark import BenchmarkProtocol

DEFAULT_PORT = 8780
DEFAULT_BROKER_PORT = 18830

_PREFIX = "FITMENT_"
_TRIAL_ATTEMPTS = 3
_Settings = TypeVar("_Settings", "Settings", "ClientSettings")


class SettingsError(ControllerError):
    """A flag or variable has a value it cannot have."""

    kind = "settings"


class BrokerEngine(str, Enum):
    """Which broker the controller embeds."""

    AUTO = "auto"
    """Mosquitto when installed, else NATS."""
    MOSQUITTO = "mosquitto"
    NATS = "nats"


@dataclass(frozen=True)
class Settings:
    """Everything that `fitment up` can be told.

    Attributes:
        data_dir: database, blobs, broker state and tokens.
        listen: the address that API and embedded broker bind; beyond loopback both ask for
            credentials.
        port: of the API; 0 takes any free one.
        advertise: the host name or address that devices are told; None works it out.
        embedded_broker: which engine to start; ignored with `broker_url`.
        broker_port: of the embedded broker; 0 takes any free one.
        broker_url: `mqtt[s]://[user@]host[:port]` of a broker that somebody else runs.
        broker_password_file: the password of the user in `broker_url`.
        broker_ca_file: certificates to trust for `mqtts`, instead of the system's.
        topic_root: leading topic levels, for brokers shared between tenants.
        lease_seconds: silence after which a device counts as offline, unless it promised to speak
            less often.
        trial_seconds: how long a device times a variant in a rollout, at least. It may have to
            begin anew, when the conditions change under it.
        trial_limit_seconds: after this long a device gives a trial up.
        profiles_dir: device classes, regions and objectives; None uses those that come along.
        ready_file: written once everything answers, besides the one in the data directory.
    """

    data_dir: Path
    listen: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    advertise: str | None = None
    embedded_broker: BrokerEngine = BrokerEngine.AUTO
    broker_port: int = DEFAULT_BROKER_PORT
    broker_url: str | None = None
    broker_password_file: Path | None = None
    broker_ca_file: Path | None = None
    topic_root: str = DEFAULT_ROOT
    lease_seconds: float = 45.0
    trial_seconds: float = 10.0
    trial_limit_seconds: float = 180.0
    profiles_dir: Path | None = None
    ready_file: Path | None = None


@dataclass(frozen=True)
class ClientSettings:
    """How the command line reaches a controller.

    Attributes:
        data_dir: where a controller on this machine leaves its address and token.
        url: of the controller; None looks into `data_dir`.
        token_file: holds the API token; None looks into `data_dir`.
    """

    data_dir: Path
    url: str | None = None
    token_file: Path | None = None


_VARIABLES = {
    "data_dir": "DATA",
    "broker_url": "BROKER",
    "profiles_dir": "PROFILES",
}
"""Fields whose variable is not simply their name in capitals."""

_READERS: Mapping[str, Any] = {
    "data_dir": Path,
    "port": int,
    "broker_port": int,
    "lease_seconds": float,
    "trial_seconds": float,
    "trial_limit_seconds": float,
    "embedded_broker": BrokerEngine,
    "broker_password_file": Path,
    "broker_ca_file": Path,
    "profiles_dir": Path,
    "ready_file": Path,
    "token_file": Path,
}


def load_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Settings:
    """Settings of a controller.

    Args:
        flags: by field name; None stands for a flag that was not given.
        environment: where `FITMENT_*` variables are looked up.

    Raises:
        SettingsError: a variable cannot be read, or a number is out of its range.
    """
    settings = _load(Settings, flags, environment)
    for name in ("port", "broker_port"):
        if not 0 <= getattr(settings, name) <= 65535:
            raise SettingsError(f"{name} {getattr(settings, name)} is not between 0 and 65535")
    for name in ("lease_seconds", "trial_seconds", "trial_limit_seconds"):
        if not 0 < getattr(settings, name) < math.inf:
            raise SettingsError(f"{name} {getattr(settings, name)} is not a time above 0")
    if settings.trial_seconds * _TRIAL_ATTEMPTS >= settings.trial_limit_seconds:
        raise SettingsError(
            f"trial_limit_seconds {settings.trial_limit_seconds:g} leaves no time for "
            f"{_TRIAL_ATTEMPTS} attempts of {settings.trial_seconds:g} s",
            "Raise trial_limit_seconds, or lower trial_seconds",
        )
    return settings


def trial_protocol(settings: Settings) -> BenchmarkProtocol:
    """The terms of trials within a rollout.

    Timing ends early enough that all of its attempts take half of the limit at most: loading,
    golden inputs and accuracy need time as well.
    """
    from fitment_contract.benchmark import QUICK  # the command line starts without pydantic

    longest = settings.trial_limit_seconds / (2 * _TRIAL_ATTEMPTS)
    return QUICK.model_copy(
        update={
            "attempts": _TRIAL_ATTEMPTS,
            "min_seconds": settings.trial_seconds,
            "max_seconds": max(min(QUICK.max_seconds, longest), settings.trial_seconds),
            "wall_limit_seconds": settings.trial_limit_seconds,
        }
    )


def load_client_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> ClientSettings:
    """Settings of the command line's client; arguments and errors as for `load_settings`."""
    return _load(ClientSettings, flags, environment)


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/fitment`, or where that variable's absence puts it."""
    base = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "fitment"


def wants_colour(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal's owner lets programs use colours (https://no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _load(
    kind: type[_Settings], flags: Mapping[str, Any], environment: Mapping[str, str]
) -> _Settings:
    values: dict[str, Any] = {"data_dir": default_data_dir(environment)}
    for field in fields(kind):
        variable = _PREFIX + _VARIABLES.get(field.name, field.name.upper())
        if flags.get(field.name) is not None:
            values[field.name] = flags[field.name]
        elif environment.get(variable):
            values[field.name] = _read(field.name, variable, environment[variable])
    values["data_dir"] = Path(values["data_dir"]).expanduser().absolute()
    return kind(**values)


def _read(field: str, variable: str, text: str) -> Any:
    try:
        return _READERS.get(field, str)(text)
    except ValueError:
        choices = ", ".join(engine.value for engine in BrokerEngine)
        expected = f"one of {choices}" if field == "embedded_broker" else "a number"
        raise SettingsError(
            f"{variable}={text!r} is not {expected}", f"correct {variable}"
        ) from None
