"""What can go wrong on the agent's own side, named by whose fault it is.

Faults of a model file or of the network are not here: a worker reports those as a
`FailureReason` and the deployment is rolled back with it.
"""

from __future__ import annotations


class AgentError(Exception):
    """The root of the agent's errors.

    Attributes:
        detail: what is wrong, in one sentence.
        next_step: what to do about it, in one sentence.
    """

    def __init__(self, detail: str, next_step: str) -> None:
        super().__init__(f"{detail} {next_step}")
        self.detail = detail
        self.next_step = next_step


class SettingsError(AgentError):
    """A flag, an environment variable or the configuration file says something impossible."""


class FactsFileError(AgentError):
    """The declared facts do not have the shape of device facts."""


class StorageError(AgentError):
    """The state directory cannot be read or written: full, read-only, or the wrong owner."""


class UnknownModelError(AgentError):
    """No such model is active on this device."""


class RollbackRefusedError(AgentError):
    """The model has no previous variant to return to."""


class AlreadyRunningError(AgentError):
    """Another agent holds the state directory."""


class DaemonTimeoutError(AgentError):
    """The running agent did not answer a request in time."""


class BenchmarkFailedError(AgentError):
    """The model does not run on this device, or the worker could not look."""
