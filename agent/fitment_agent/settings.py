"""Settings: flags over environment over configuration files; the only reader of the environment.

A configuration file is `fitment/agent.toml` or `fitment/agent.json` under `/etc` and under
`$XDG_CONFIG_HOME`; the latter overrides the former key by key. Python 3.10 has no TOML reader, so
there the JSON form is the one to use.

Secrets are never settings: a password or a token is named by the file that holds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fitment_agent.errors import SettingsError
from fitment_agent.notify import ServiceManager

ENVIRONMENT_PREFIX: Final = "FITMENT_AGENT_"
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REGION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Settings:
    """Everything that a person decides about one agent.

    Attributes:
        device_id: one MQTT topic level; derived from the machine when not set.
        broker_url: `mqtt://host:port` or `mqtts://host:port`, optionally with a user name.
        password_file: holds the broker password and nothing else.
        ca_file: certificates to trust for `mqtts`; None means the system's.
        topic_root: leading levels of all topics.
        region: the place the device is configured for.
        labels: free key-value pairs.
        state_dir: blobs, pointers and journal.
        facts_file: declared facts that replace the probe; the device is then simulated.
        root_prefix: where the probe finds `/proc`, `/sys` and `/etc`.
        metered: whether somebody pays for this link by the byte; None when unknown.
        artifact_token_file: bearer token for artifact downloads.
        heartbeat_seconds: between two vitals at least.
        heartbeat_max_seconds: between two vitals at most, while nothing changes.
        heartbeat_max_saving_seconds: the same on a battery or a metered link.
        auto_tune: find the best session options of what is active when nothing else is to be done.
        tune_after_seconds: how long nothing must have been deployed before that.
        conditions_poll_seconds: between two looks at a condition that holds something back.
        reconnect_min_seconds, reconnect_max_seconds: bounds of the broker backoff.
        retry_base_seconds, retry_max_seconds, retry_limit: backoff of failed work.
        reserve_bytes: disk space that a transfer leaves free.
    """

    device_id: str
    state_dir: Path
    broker_url: str = "mqtt://127.0.0.1:1883"
    password_file: Path | None = None
    ca_file: Path | None = None
    topic_root: str = "fitment"
    region: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    facts_file: Path | None = None
    root_prefix: Path = Path("/")
    metered: bool | None = None
    artifact_token_file: Path | None = None
    heartbeat_seconds: float = 30.0
    heartbeat_max_seconds: float = 600.0
    heartbeat_max_saving_seconds: float = 900.0
    auto_tune: bool = True
    tune_after_seconds: float = 300.0
    conditions_poll_seconds: float = 15.0
    reconnect_min_seconds: float = 1.0
    reconnect_max_seconds: float = 120.0
    retry_base_seconds: float = 15.0
    retry_max_seconds: float = 3600.0
    retry_limit: int = 5
    reserve_bytes: int = 32 * 1024 * 1024

    def to_json(self) -> str:
        """These settings as JSON, for the process that `fitment-agent run` becomes."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings that `to_json` wrote."""
        return _build(json.loads(text), "the settings handed over")


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Settings:
    """The settings in force.

    Args:
        flags: from the command line, by field name; None values are flags not given.
        environment: `os.environ` when None.
        config_file: read instead of the standard configuration files.

    Raises:
        SettingsError: a value cannot be; the message says where it came from.
    """
    variables = os.environ if environment is None else environment
    files = [config_file] if config_file else _standard_files(variables)
    layers = [(str(file), _read_file(file)) for file in files]
    layers.append(("the environment", _from_environment(variables)))
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    layers.append(("the command line", given))
    merged: dict[str, Any] = {}
    for source, layer in layers:
        _refuse_unknown(layer, source)
        merged.update(_converted(layer, source))
    merged.setdefault("state_dir", default_state_dir(variables))
    prefix = merged.get("root_prefix", Path("/"))
    merged.setdefault("device_id", derived_device_id(prefix, socket.gethostname()))
    return _checked(Settings(**merged))


def default_state_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where the state lives when nobody says: the system's place for root, the user's otherwise."""
    variables = os.environ if environment is None else environment
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/fitment-agent")
    base = variables.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "fitment-agent"


def derived_device_id(root_prefix: Path, host_name: str) -> str:
    """A stable id for this machine that does not give its machine id away.

    The machine id is documented as confidential (machine-id(5)), so only a keyed hash leaves.
    """
    try:
        machine_id = (root_prefix / "etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine_id = ""
    if machine_id:
        return "device-" + hashlib.sha256(f"fitment-agent:{machine_id}".encode()).hexdigest()[:12]
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", host_name).lstrip("._-")[:64]
    return cleaned or "device"


def runtime_environment() -> dict[str, str]:
    """The environment of the daemon process: this one, arranged for a small resident size.

    One malloc arena and an early trim keep it near what is used, and so do tracebacks without
    columns. No pydantic plugins: looking for them reads the metadata of everything that is
    installed, and the agent wants none.
    """
    return {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        "PYTHONNODEBUGRANGES": "1",
        **os.environ,
    }


def service_manager(environment: Mapping[str, str] | None = None) -> ServiceManager:
    """Who started this process and wants to hear that it lives, by sd_notify(3)."""
    variables = os.environ if environment is None else environment
    microseconds = variables.get("WATCHDOG_USEC", "")
    meant = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    watched = meant and microseconds.isascii() and microseconds.isdigit()
    return ServiceManager(
        address=variables.get("NOTIFY_SOCKET") or None,
        watchdog_seconds=(int(microseconds) / 1e6 or None) if watched else None,
    )


def _standard_files(variables: Mapping[str, str]) -> list[Path]:
    user = variables.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    folders = [Path("/etc/fitment"), Path(user) / "fitment"]
    names = ("agent.toml", "agent.json")
    paths = [folder / name for folder in folders for name in names]
    return [path for path in paths if os.path.isfile(path)]  # Path.is_file fails in a closed home


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}.", "Name a readable file with --config."
        ) from None
    try:
        content = _parse_toml(text, path) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}.", "Correct the file.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no table of settings.", "Write `key = value` lines.")
    return content


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(text)
    raise SettingsError(
        f"{path}: this Python ({sys.version.split()[0]}) cannot read TOML.",
        f"Write the same keys as JSON to {path.with_suffix('.json')}, or use Python 3.11.",
    )


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    names = {field.name for field in fields(Settings)}
    return {
        name: value
        for key, value in variables.items()
        if key.startswith(ENVIRONMENT_PREFIX)
        and value
        and (name := key[len(ENVIRONMENT_PREFIX) :].lower()) in names
    }


def _refuse_unknown(layer: Mapping[str, Any], source: str) -> None:
    known = [field.name for field in fields(Settings)]
    for key in layer:
        if key not in known:
            raise SettingsError(
                f"{source}: no setting is called {key!r}.", f"The settings are {', '.join(known)}."
            )


def _converted(layer: Mapping[str, Any], source: str) -> dict[str, Any]:
    converted = {}
    for key, value in layer.items():
        try:
            converted[key] = None if value is None else _CONVERTERS.get(_kind(key), str)(value)
        except (TypeError, ValueError):
            raise SettingsError(
                f"{source}: {key} cannot be {value!r}.", f"It takes {_WANTED[_kind(key)]}."
            ) from None
    return converted


def _kind(key: str) -> str:
    if key.endswith(("_file", "_dir", "_prefix")):
        return "path"
    if key.endswith("_seconds"):
        return "seconds"
    return {"labels": "labels", "metered": "flag", "auto_tune": "flag"}.get(
        key, "count" if key.endswith(("_bytes", "_limit")) else "text"
    )


def _to_labels(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    pairs = [pair for pair in value.split(",") if pair] if isinstance(value, str) else list(value)
    return dict(pair.split("=", 1) for pair in pairs)


def _to_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        str(value).lower()
    ]


def _to_seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def _to_count(value: Any) -> int:
    count = int(value)
    if count < 0:
        raise ValueError
    return count


def _flag_or_error(value: Any) -> bool:
    try:
        return _to_flag(value)
    except KeyError:
        raise ValueError from None


_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "path": lambda value: Path(value).expanduser(),
    "seconds": _to_seconds,
    "labels": _to_labels,
    "flag": _flag_or_error,
    "count": _to_count,
    "text": str,
}
_WANTED: Final = {
    "path": "a path",
    "seconds": "a number of seconds above 0",
    "labels": "key=value pairs separated by commas",
    "flag": "true or false",
    "count": "a whole number from 0",
    "text": "text",
}


def _build(content: Mapping[str, Any], source: str) -> Settings:
    return _checked(Settings(**_converted(content, source)))


def _checked(settings: Settings) -> Settings:
    if not _DEVICE_ID.fullmatch(settings.device_id):
        raise SettingsError(
            f"device_id {settings.device_id!r} is not one MQTT topic level.",
            "Use 1 to 64 letters, digits, dots, underscores or dashes.",
        )
    if settings.region is not None and not _REGION.fullmatch(settings.region):
        raise SettingsError(
            f"region {settings.region!r} is not a name.",
            "Use lower-case letters, digits, dots, underscores or dashes.",
        )
    if settings.reconnect_min_seconds > settings.reconnect_max_seconds:
        raise SettingsError(
            "reconnect_min_seconds is above reconnect_max_seconds.", "Swap the two."
        )
    _check_broker(settings.broker_url)
    return replace(settings, state_dir=settings.state_dir.absolute())


def _check_broker(url: str) -> None:
    parts = urlsplit(url)
    if parts.password is not None:
        raise SettingsError(
            "broker_url holds a password, which would show in process lists and logs.",
            "Put the password alone into a file and name it with --password-file.",
        )
    try:
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not has_port:
        raise SettingsError(
            f"broker_url {url!r} is not a broker address.",
            "Write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS.",
        )
