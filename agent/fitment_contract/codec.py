"""Bytes to messages and back: a size cap before parsing, then one error type per cause."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import ValidationError

from fitment_contract.errors import (
    MalformedMessageError,
    OversizedMessageError,
    TopicError,
    UnknownMessageError,
    UnsupportedVersionError,
)
from fitment_contract.messages import (
    MESSAGE_VERSION,
    Bench,
    Birth,
    Command,
    Death,
    Desired,
    Event,
    Message,
    Reported,
    Vitals,
)
from fitment_contract.topics import DownChannel, DownTopic, UpChannel, UpTopic

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""The cap on a payload, checked before a byte of it is parsed."""

_TYPES: Final[dict[UpChannel | DownChannel, type[Message]]] = {
    UpChannel.BIRTH: Birth,
    UpChannel.DEATH: Death,
    UpChannel.VITALS: Vitals,
    UpChannel.REPORTED: Reported,
    UpChannel.BENCH: Bench,
    UpChannel.EVENT: Event,
    DownChannel.DESIRED: Desired,
    DownChannel.COMMAND: Command,
}


def message_types() -> dict[UpChannel | DownChannel, type[Message]]:
    """Which message travels on which channel."""
    return dict(_TYPES)


def channel_of(message: Message) -> UpChannel | DownChannel:
    """The channel on which a message travels."""
    for channel, kind in _TYPES.items():
        if type(message) is kind:
            return channel
    raise UnknownMessageError(f"{type(message).__name__} travels on no channel")


def encode(message: Message) -> bytes:
    """The payload of a message.

    Raises:
        OversizedMessageError: it would be larger than `MAX_MESSAGE_BYTES`.
    """
    payload = message.model_dump_json(exclude_none=True).encode()
    _check_size(payload)
    return payload


def decode(topic: UpTopic | DownTopic, payload: bytes) -> Message:
    """The message in `payload` as received on `topic`.

    Raises:
        OversizedMessageError: larger than `MAX_MESSAGE_BYTES`; not parsed.
        MalformedMessageError: not a JSON object, or a field is missing or wrong.
        UnknownMessageError: a type that does not belong to the topic's channel.
        UnsupportedVersionError: another version of the contract.
        TopicError: the payload names another device than the topic.
    """
    _check_size(payload)
    kind = _TYPES[topic.channel]
    raw = _parse(payload)
    version = raw.get("version")
    if version != MESSAGE_VERSION or isinstance(version, bool):
        raise UnsupportedVersionError(f"version {version!r}; this side speaks {MESSAGE_VERSION}")
    expected = kind.model_fields["type"].default
    if raw.get("type") != expected:
        raise UnknownMessageError(f"type {raw.get('type')!r} where {expected!r} belongs")
    try:
        message = kind.model_validate(raw)
    except ValidationError as error:
        raise MalformedMessageError(_first(error)) from None
    if message.device != topic.device:
        raise TopicError(f"{message.device!r} speaks on the topic of {topic.device!r}")
    return message


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise OversizedMessageError(f"{len(payload)} bytes; the cap is {MAX_MESSAGE_BYTES}")


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(payload)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise MalformedMessageError(f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise MalformedMessageError(f"a JSON {type(raw).__name__} where an object belongs")
    return raw


def _first(error: ValidationError) -> str:
    """One line for the first of possibly many faults: a hostile payload must not flood a log."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "message"
    more = error.error_count() - 1
    return f"{where}: {fault['msg']}" + (f" (and {more} more)" if more else "")
