"""The ground that every record of the contract stands on.

Two rules make old and new versions live together: unknown fields are ignored (a newer sender is
never fatal to an older receiver), and numbers are finite (a device cannot report NaN as its
accuracy). Long free text is clipped rather than refused, so that a failure report always arrives.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

DETAIL_LENGTH = 600
"""Characters kept of a free-text detail."""


class Record(BaseModel):
    """An immutable value that crosses a process boundary as JSON."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        defer_build=True,  # the idle agent never builds the validators of messages it does not use
        protected_namespaces=(),  # `model` is a word of the domain here
    )


def _clip(value: Any) -> Any:
    return value[:DETAIL_LENGTH] if isinstance(value, str) else value


Detail = Annotated[str, BeforeValidator(_clip)]
"""Free text for people; clipped to `DETAIL_LENGTH`, never a reason to refuse a message."""

DeviceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""One MQTT topic level: letters, digits, dot, underscore, dash; at most 64 characters."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""The name of a model, variant, technique, region, class or objective."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of some bytes, in lower-case hexadecimal."""

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
LARGEST: Final = 2**53
"""The largest whole number that JSON readers agree on; no honest count or size comes near."""

Bytes = Annotated[int, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]

Timestamp = AwareDatetime
"""A moment with its offset; JSON carries RFC 3339. Devices' clocks may be years off."""


def utc_now() -> datetime:
    """The current moment, aware, in UTC."""
    return datetime.now(timezone.utc)


def sha256_hex(data: bytes) -> Digest:
    """The digest of `data` as the contract writes digests."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, so that equal values have equal digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
