"""What can be wrong with a message, a topic or a record: always the sender's fault."""

from __future__ import annotations


class ContractError(Exception):
    """Something received does not follow the contract.

    Attributes:
        reason: a short stable word, the label under which the receiver counts the error.
        detail: what was wrong, for people.
    """

    reason = "contract"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.reason}: {detail}")
        self.detail = detail


class OversizedMessageError(ContractError):
    """The payload is larger than the cap; it was not parsed."""

    reason = "oversized"


class MalformedMessageError(ContractError):
    """The payload is not JSON, or lacks a field, or a field has a value it cannot have."""

    reason = "malformed"


class UnknownMessageError(ContractError):
    """The message type is none that this side knows."""

    reason = "unknown_type"


class UnsupportedVersionError(ContractError):
    """The message speaks a contract version that this side does not."""

    reason = "unknown_version"


class TopicError(ContractError):
    """The topic is not one of the contract's, or it disagrees with the payload."""

    reason = "topic"


class TransitionError(ContractError):
    """An event arrived in a deployment phase in which the phase table has no place for it."""

    reason = "transition"
