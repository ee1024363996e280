"""Flags over environment over defaults, and errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_contract.benchmark import QUICK
from fitment_controller.settings import (
    BrokerEngine,
    SettingsError,
    load_client_settings,
    load_settings,
    trial_protocol,
    wants_colour,
)


def test_defaults_are_loopback_and_the_users_data_directory() -> None:
    settings = load_settings({}, {"XDG_DATA_HOME": "/somewhere"})
    assert settings.data_dir == Path("/somewhere/fitment")
    assert settings.listen == "127.0.0.1"
    assert settings.embedded_broker is BrokerEngine.AUTO
    assert load_settings({}, {}).data_dir == Path.home() / ".local" / "share" / "fitment"


def test_a_flag_wins_over_its_variable_which_wins_over_the_default() -> None:
    environment = {
        "FITMENT_DATA": "/from/environment",
        "FITMENT_PORT": "1234",
        "FITMENT_EMBEDDED_BROKER": "nats",
        "FITMENT_BROKER": "mqtt://elsewhere",
        "FITMENT_BROKER_PASSWORD_FILE": "/secret",
        "FITMENT_PROFILES": "/profiles",
        "FITMENT_LEASE_SECONDS": "7.5",
    }
    settings = load_settings({"port": 0, "listen": None}, environment)
    assert settings.port == 0, "0 is a flag that was given"
    assert settings.data_dir == Path("/from/environment")
    assert settings.embedded_broker is BrokerEngine.NATS
    assert settings.broker_url == "mqtt://elsewhere"
    assert settings.broker_password_file == Path("/secret")
    assert settings.profiles_dir == Path("/profiles")
    assert settings.lease_seconds == 7.5


def test_an_empty_variable_is_none() -> None:
    assert load_settings({}, {"FITMENT_BROKER": "", "FITMENT_PORT": ""}).broker_url is None


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FITMENT_PORT", "many", ["FITMENT_PORT", "number"]),
        ("FITMENT_PORT", "70000", ["port", "65535"]),
        ("FITMENT_BROKER_PORT", "-1", ["broker_port"]),
        ("FITMENT_EMBEDDED_BROKER", "emqx", ["auto, mosquitto, nats"]),
        ("FITMENT_LEASE_SECONDS", "0", ["lease_seconds"]),
        ("FITMENT_LEASE_SECONDS", "nan", ["lease_seconds"]),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {variable: value})
    for word in words:
        assert word in str(caught.value)


def test_trials_are_by_the_contract_s_quick_terms_unless_told_otherwise() -> None:
    assert trial_protocol(load_settings({}, {})) == QUICK
    short = trial_protocol(load_settings({"trial_seconds": 0.2, "trial_limit_seconds": 15}, {}))
    assert (short.min_seconds, short.max_seconds, short.wall_limit_seconds) == (0.2, 2.5, 15)
    long = trial_protocol(load_settings({"trial_seconds": 120, "trial_limit_seconds": 500}, {}))
    assert (long.min_seconds, long.max_seconds) == (120, 120)


def test_every_attempt_of_a_trial_fits_its_limit() -> None:
    with pytest.raises(SettingsError, match="no time for 3 attempts of 60 s"):
        load_settings({"trial_seconds": 60.0}, {})


def test_the_client_reads_its_own_variables() -> None:
    settings = load_client_settings(
        {"url": None},
        {"FITMENT_URL": "http://x", "FITMENT_TOKEN_FILE": "/t", "FITMENT_DATA": "relative"},
    )
    assert settings.url == "http://x"
    assert settings.token_file == Path("/t")
    assert settings.data_dir.is_absolute()


def test_colours_can_be_refused() -> None:
    assert wants_colour({})
    assert not wants_colour({"NO_COLOR": "1"})
    assert wants_colour({"NO_COLOR": ""}), "no-color.org: when present and not empty"
    assert not wants_colour({"TERM": "dumb"})
