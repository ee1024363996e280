"""What can go wrong at headquarters, named by whose fault it is, with the next step to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ControllerError(Exception):
    """The root of everything this package raises on purpose.

    Attributes:
        kind: a short stable word for machines (API bodies, exit codes).
        detail: what was wrong, for people.
        next_step: what to do about it; empty when the detail says it already.
    """

    kind: ClassVar[str] = "internal"

    def __init__(self, detail: str, next_step: str = "") -> None:
        super().__init__(f"{detail}. {next_step}" if next_step else detail)
        self.detail = detail
        self.next_step = next_step


class NotFoundError(ControllerError):
    """The caller named something that does not exist.

    Attributes:
        what: the noun (`device`, `model`, `rollout`, `objective`).
        name: as the caller spelled it.
    """

    kind = "not_found"

    def __init__(self, what: str, name: str, next_step: str = "") -> None:
        super().__init__(f"no {what} called {name!r}", next_step)
        self.what = what
        self.name = name


class ConflictError(ControllerError):
    """The request does not fit the present state (resume what runs, push a version twice)."""

    kind = "conflict"


class PlanRefused(ControllerError):
    """A rollout that cannot work is refused before it touches a device.

    Attributes:
        reasons: every reason, one sentence each.
    """

    kind = "plan_refused"

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(
            "the rollout was refused: " + "; ".join(reasons), "See `fitment plan` for every device"
        )
        self.reasons = tuple(reasons)


class MissingBlobs(ControllerError):
    """A portfolio names bytes that headquarters does not hold yet.

    Attributes:
        digests: what is missing, sorted.
    """

    kind = "missing_blobs"

    def __init__(self, digests: Sequence[str]) -> None:
        shown = ", ".join(digest[:12] for digest in digests[:3])
        super().__init__(
            f"{len(digests)} blobs are missing ({shown}{', ...' if len(digests) > 3 else ''})",
            "Upload each with PUT /v1/blobs/<digest>, then push again",
        )
        self.digests = tuple(digests)


class PortfolioError(ControllerError):
    """A portfolio folder is incomplete, damaged or contradicts itself."""

    kind = "portfolio"


class BlobError(ControllerError):
    """Bytes that were handed in are not the ones announced.

    Attributes:
        digest: of the announced content.
        fault: what is wrong with the bytes.
    """

    kind = "blob"

    def __init__(self, digest: str, detail: str) -> None:
        super().__init__(f"blob {digest[:12]}: {detail}", "Send the file again, whole")
        self.digest = digest
        self.fault = detail


class ProfileError(ControllerError):
    """Profile files that cannot be used.

    Attributes:
        problems: one line each, `file:line: what; what would be right`.
    """

    kind = "profile"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems), "`fitment profile validate` shows them all")
        self.problems = tuple(problems)


class TransitionRefused(ControllerError):
    """An event that a state machine's table has no place for."""

    kind = "conflict"


class StoreError(ControllerError):
    """The database cannot be opened, migrated or trusted."""

    kind = "store"
