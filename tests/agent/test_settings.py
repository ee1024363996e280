"""Settings: who wins, what is refused, and that secrets stay in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fitment_agent.errors import SettingsError
from fitment_agent.settings import Settings, derived_device_id, load_settings


def home(folder: Path) -> dict[str, str]:
    """An environment whose configuration is in `folder`."""
    return {"XDG_CONFIG_HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}


def write_config(folder: Path, content: object) -> None:
    (folder / "fitment").mkdir(exist_ok=True)
    (folder / "fitment" / "agent.json").write_text(json.dumps(content))


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    write_config(tmp_path, {"region": "file", "topic_root": "file", "device_id": "file"})
    environment = {
        **home(tmp_path),
        "FITMENT_AGENT_REGION": "environment",
        "FITMENT_AGENT_TOPIC_ROOT": "environment",
    }
    settings = load_settings({"region": "flag", "topic_root": None}, environment)
    assert (settings.region, settings.topic_root, settings.device_id) == (
        "flag",
        "environment",
        "file",
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python reads no TOML")
def test_a_toml_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('heartbeat_seconds = 5\nmetered = true\n[labels]\nsite = "roof"\n')
    settings = load_settings({}, home(tmp_path), file)
    assert (settings.heartbeat_seconds, settings.metered, settings.labels) == (
        5.0,
        True,
        {"site": "roof"},
    )


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="this Python reads TOML")
def test_without_a_toml_reader_the_error_names_json(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("heartbeat_seconds = 5\n")
    with pytest.raises(SettingsError, match=r"agent\.json"):
        load_settings({}, home(tmp_path), file)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"broker_url": "mqtt://user:hunter2@host"}, "password"),
        ({"broker_url": "http://host"}, "broker address"),
        ({"broker_url": "mqtt://host:99999999"}, "broker address"),
        ({"device_id": "a/b"}, "device_id"),
        ({"region": "Über"}, "region"),
        ({"heartbeat_seconds": "soon"}, "heartbeat_seconds"),
        ({"heartbeat_seconds": -1}, "heartbeat_seconds"),
        ({"heartbeat_seconds": float("nan")}, "heartbeat_seconds"),
        ({"labels": "site"}, "labels"),
        ({"metered": "perhaps"}, "metered"),
        ({"reconnect_min_seconds": 9, "reconnect_max_seconds": 1}, "reconnect"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    tmp_path: Path, flags: dict[str, object], names: str
) -> None:
    with pytest.raises(SettingsError, match=names) as caught:
        load_settings(flags, home(tmp_path))
    assert caught.value.next_step
    assert "hunter2" not in str(caught.value)


def test_a_file_with_an_unknown_key_names_file_and_key(tmp_path: Path) -> None:
    write_config(tmp_path, {"brocker_url": "mqtt://host"})
    with pytest.raises(SettingsError, match=r"agent\.json.*brocker_url"):
        load_settings({}, home(tmp_path))


def test_the_device_id_hides_the_machine_id(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    first = derived_device_id(tmp_path, "host")
    assert first == derived_device_id(tmp_path, "other")
    assert "0123456789" not in first


def test_without_a_machine_id_the_host_name_serves(tmp_path: Path) -> None:
    assert derived_device_id(tmp_path, "my pi!") == "my-pi-"
    assert derived_device_id(tmp_path, "") == "device"


def test_they_survive_the_way_to_the_daemon_process(tmp_path: Path) -> None:
    settings = load_settings(
        {"labels": ["a=b=c"], "metered": False, "facts_file": tmp_path / "f.json"},
        home(tmp_path),
    )
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.labels == {"a": "b=c"}
