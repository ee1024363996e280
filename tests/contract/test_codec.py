"""Bytes to messages and back, and everything that can be wrong with a payload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_contract.codec import MAX_MESSAGE_BYTES, channel_of, decode, encode
from fitment_contract.errors import (
    ContractError,
    MalformedMessageError,
    OversizedMessageError,
    TopicError,
    UnknownMessageError,
    UnsupportedVersionError,
)
from fitment_contract.messages import Birth, Vitals
from fitment_contract.topics import DownChannel, DownTopic, UpChannel, UpTopic
from support.contract_samples import LATER_MESSAGES, MESSAGES

GOLDEN = Path(__file__).parent / "golden" / "v1"
VITALS = UpTopic("pi-5", UpChannel.VITALS)


def topic_for(channel: str) -> UpTopic | DownTopic:
    if channel in {"desired", "cmd"}:
        return DownTopic("pi-5", DownChannel(channel))
    return UpTopic("pi-5", UpChannel(channel))


def vitals(**changes: object) -> bytes:
    fields = json.loads(encode(MESSAGES["vitals"]))
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize("channel", sorted(MESSAGES))
def test_every_message_survives_the_journey(channel: str) -> None:
    message = MESSAGES[channel]
    assert decode(topic_for(channel), encode(message)) == message
    assert channel_of(message).value == channel


@pytest.mark.parametrize("channel", sorted(MESSAGES))
def test_golden_files_pin_what_travels(channel: str) -> None:
    """The wire form of version 1 only grows: what an older side reads is still there, unchanged."""
    golden = (GOLDEN / f"{channel}.json").read_bytes()
    assert decode(topic_for(channel), golden) == MESSAGES[channel]
    assert_grown(json.loads(encode(MESSAGES[channel])), json.loads(golden))


@pytest.mark.parametrize("name", sorted(LATER_MESSAGES))
def test_later_golden_files_pin_what_was_added(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes()
    message = LATER_MESSAGES[name]
    assert decode(topic_for(channel_of(message).value), golden) == message
    assert_grown(json.loads(encode(message)), json.loads(golden))


def assert_grown(now: Any, before: Any, where: str = "message") -> None:
    """Every value of `before` is in `now`, in the same place."""
    if isinstance(before, dict):
        assert isinstance(now, dict), where
        for key, value in before.items():
            assert key in now, f"{where}.{key} is gone"
            assert_grown(now[key], value, f"{where}.{key}")
    elif isinstance(before, list):
        assert len(now) == len(before), where
        for index, value in enumerate(before):
            assert_grown(now[index], value, f"{where}[{index}]")
    else:
        assert now == before, where


def test_golden_files_cover_every_channel() -> None:
    channels = {channel.value for channel in (*UpChannel, *DownChannel)}
    assert {path.stem for path in GOLDEN.glob("*.json")} == channels | set(LATER_MESSAGES)


def test_unknown_fields_are_ignored() -> None:
    decoded = decode(VITALS, vitals(mood="good", link={"satellite": True}))
    assert decoded == MESSAGES["vitals"]


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", MalformedMessageError),
        (b"\xff\xfe", MalformedMessageError),
        (b"[1, 2]", MalformedMessageError),
        (b"[" * 100_000, MalformedMessageError),
        (vitals(sequence="many"), MalformedMessageError),
        (vitals(charge_ratio=1.5), MalformedMessageError),
        (vitals(session=2**80), MalformedMessageError),
        (vitals(sent_at="yesterday"), MalformedMessageError),
        (vitals(sent_at="2026-11-23T12:00:00"), MalformedMessageError),
        (b" " * (MAX_MESSAGE_BYTES + 1), OversizedMessageError),
        (vitals(version=2), UnsupportedVersionError),
        (vitals(version=True), UnsupportedVersionError),
        (vitals(version=None), UnsupportedVersionError),
        (vitals(type="birth"), UnknownMessageError),
        (vitals(type=["vitals"]), UnknownMessageError),
        (vitals(device="pi-6"), TopicError),
    ],
)
def test_each_fault_has_its_own_error(payload: bytes, error: type[ContractError]) -> None:
    with pytest.raises(error):
        decode(VITALS, payload)


def test_a_device_cannot_report_nan() -> None:
    with pytest.raises(MalformedMessageError):
        decode(VITALS, vitals(temperature_celsius=float("nan")))


def test_an_error_is_one_line_whatever_the_payload() -> None:
    payload = vitals(sequence="\n" * 1000, session="x", uptime_seconds=-1)
    with pytest.raises(MalformedMessageError) as caught:
        decode(VITALS, payload)
    assert "\n" not in str(caught.value)
    assert "2 more" in str(caught.value)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_contract_error(payload: bytes) -> None:
    with pytest.raises(ContractError):
        decode(VITALS, payload)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(sorted(json.loads(encode(MESSAGES["birth"])))),
)
def test_no_value_of_a_field_raises_anything_else(value: object, field: str) -> None:
    fields = json.loads(encode(MESSAGES["birth"]))
    payload = json.dumps({**fields, field: value}).encode()
    try:
        message = decode(UpTopic("pi-5", UpChannel.BIRTH), payload)
    except ContractError:
        return
    assert isinstance(message, Birth)


@given(
    session=st.integers(0, 2**31),
    sequence=st.integers(0, 2**31),
    charge=st.none() | st.floats(0, 1),
    celsius=st.none() | st.floats(-60, 150),
)
def test_numbers_come_back_as_they_went(
    session: int, sequence: int, charge: float | None, celsius: float | None
) -> None:
    message = MESSAGES["vitals"].model_copy(
        update={
            "session": session,
            "sequence": sequence,
            "charge_ratio": charge,
            "temperature_celsius": celsius,
        }
    )
    decoded = decode(VITALS, encode(message))
    assert isinstance(decoded, Vitals)
    assert decoded == message
