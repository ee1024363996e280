"""What can go wrong with one model on one machine, in the words of the contract."""

from __future__ import annotations

from fitment_contract.phase import FailureReason


class RuntimeFailure(Exception):
    """A model could not be loaded, run or scored here.

    Attributes:
        reason: the word under which a device reports it.
        detail: cause and next step, for people.
    """

    reason = FailureReason.INTERNAL

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnsupportedFormat(RuntimeFailure):
    """No runtime on this machine reads the file, or it uses what the runtime does not have."""

    reason = FailureReason.UNSUPPORTED


class RuntimeMissing(RuntimeFailure):
    """The runtime is known but not installed; the detail says how to install it."""

    reason = FailureReason.UNSUPPORTED


class LoadFailure(RuntimeFailure):
    """The runtime, or the check before it, refused the file."""

    reason = FailureReason.LOAD_FAILED


class InferenceFailure(RuntimeFailure):
    """The file was loaded and could not be run, or its outputs are no numbers."""

    reason = FailureReason.INFERENCE_FAILED


class MemoryExceeded(RuntimeFailure):
    """The runtime asked for memory that it did not get."""

    reason = FailureReason.MEMORY_EXCEEDED


class GoldenMismatch(RuntimeFailure):
    """The outputs for the golden inputs are not what the build host computed."""

    reason = FailureReason.GOLDEN_MISMATCH


class DataError(RuntimeFailure):
    """A data file or a metric does not fit the model: whoever supplied the data must act."""
