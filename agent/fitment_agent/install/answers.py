"""What a person decides about an installation: the agent's configuration file, and secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fitment_agent.errors import SettingsError
from fitment_agent.install.errors import InstallError
from fitment_agent.install.machine import Machine
from fitment_agent.install.steps import Put, Step
from fitment_agent.settings import Settings

CONFIG_NAME: Final = "agent.json"
"""JSON, because Python 3.10 reads no TOML."""

_COPIED: Final = {
    "password_file": ("agent-broker-password", True),
    "artifact_token_file": ("agent-artifact-token", True),
    "ca_file": ("agent-broker-ca.crt", False),
}
"""Files that are handed over: the service's user cannot read those of the person who installs."""


@dataclass(frozen=True)
class Answers:
    """What the person who installs said.

    Attributes:
        program: the absolute path of the `fitment-agent` to start.
        settings: by the names of the agent's settings; only what was said. None when nothing is
            to be configured: for uninstalling.
        keep_state: uninstalling leaves settings, state and user.
    """

    program: str
    settings: Mapping[str, Any] | None = field(default_factory=dict)
    keep_state: bool = False


def settings_steps(
    answers: Answers, machine: Machine, folder: str, state_dir: str, secret_mode: int
) -> list[Step]:
    """The configuration file and the files that it names, in `folder`.

    What is configured already stays, unless it is said anew.

    Args:
        answers: what was said.
        machine: with what is configured already.
        folder: of the configuration file.
        state_dir: of the agent.
        secret_mode: of files that hold a secret.

    Raises:
        SettingsError: the file that is there, or a setting, cannot be.
        InstallError: a file that was named cannot be read.
    """
    if answers.keep_state:
        return []
    said = dict(answers.settings or {})
    steps: list[Step] = []
    for setting, (name, secret) in _COPIED.items():
        path, content = f"{folder}/{name}", None
        if setting in said:
            content = _handed_over(Path(said[setting]), setting)
            said[setting] = path
        mode = secret_mode if secret else 0o644
        steps.append(Put(path, content, mode, folders=1, secret=secret))
    config = f"{folder}/{CONFIG_NAME}"
    text = None
    if answers.settings is not None:
        text = _config_text({**_configured(machine, config), "state_dir": state_dir, **said})
    return [*steps, Put(config, text, 0o644, folders=1)]


def _configured(machine: Machine, path: str) -> dict[str, Any]:
    content = machine.read(path)
    try:
        config = {} if content is None else json.loads(content)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}.", "Correct the file, or delete it.") from None
    if not isinstance(config, dict):
        raise SettingsError(f"{path} holds no table of settings.", "Correct it, or delete it.")
    return config


def _config_text(config: Mapping[str, Any]) -> bytes:
    """The file's content; what the agent would refuse when it starts is refused here."""
    try:
        Settings.from_json(json.dumps({"device_id": "device", **config}, default=str))
    except TypeError as error:
        raise SettingsError(f"A setting is not known: {error}.", "Correct the file.") from None
    return (json.dumps(config, indent=2, default=str, sort_keys=True) + "\n").encode()


def _handed_over(path: Path, setting: str) -> bytes:
    flag = f"--{setting.replace('_', '-')}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InstallError(
            f"{path} cannot be read: {error.strerror}.", f"Name a readable file with {flag}."
        ) from None
    if not content.strip():
        raise InstallError(f"{path} is empty.", f"Name the file that holds it with {flag}.")
    return content
