"""One HTTP request for the rest of a file, and what its answer means for another try.

Standard library only: a device installs nothing for transfers.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from fitment_contract.phase import FailureReason

_TIMEOUT_SECONDS: Final = 30.0
_CHUNK_BYTES: Final = 64 * 1024
_MAX_REDIRECTS: Final = 3
_GONE: Final = frozenset({404, 410})
_PASSING: Final = frozenset({408, 425, 429})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-")


class PassingTrouble(Exception):
    """The transfer failed in a way that may pass."""


class GivenUp(Exception):
    """Asking this URL again would change nothing.

    Attributes:
        reason: what to report when no other URL helps.
    """

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Body:
    """The payload of an answer.

    Attributes:
        offset: where in the file it begins: 0 when the server ignored the range.
        length: bytes that the server says will follow; None when it does not say.
        ends_clearly: the framing tells the end of the payload from a cut connection.
    """

    offset: int
    length: int | None
    ends_clearly: bool
    _response: http.client.HTTPResponse

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come.

        Raises:
            PassingTrouble: the connection ended before the payload did.
        """
        received = 0
        while self.length is None or received < self.length:
            try:
                chunk = self._response.read1(_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise PassingTrouble(f"the transfer broke off: {_words(error)}") from error
            if not chunk:
                if self.length is not None:
                    raise PassingTrouble(
                        f"the connection ended {self.length - received} bytes early"
                    )
                return
            received += len(chunk)
            yield chunk


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: whom a credential is for.

    Raises:
        GivenUp: not an HTTP URL.
    """
    parts = _split(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return parts.scheme, parts.hostname or "", port


@contextmanager
def open_from(url: str, offset: int, token: str | None) -> Iterator[Body]:
    """Ask for the file at `url` from byte `offset` on.

    Redirects are followed within the origin only, so that no server can send the token, or the
    device, elsewhere.

    Raises:
        GivenUp: a client error, or a redirect to another origin.
        PassingTrouble: no connection, or a server error.
    """
    target = url
    for _ in range(_MAX_REDIRECTS + 1):
        with closing(_connect(_split(target))) as connection:
            response = _ask(connection, target, offset, token)
            if response.status not in _REDIRECTS:
                yield _body(response, offset)
                return
            target = urljoin(target, response.headers.get("Location", ""))
        if origin(target) != origin(url):
            raise GivenUp(FailureReason.REFUSED, "the server redirects to another host")
    raise GivenUp(FailureReason.REFUSED, "the server redirects without end")


def _ask(
    connection: http.client.HTTPConnection, url: str, offset: int, token: str | None
) -> http.client.HTTPResponse:
    parts = _split(url)
    headers = {"Accept-Encoding": "identity", "Connection": "close"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse()
    except http.client.InvalidURL:
        raise GivenUp(FailureReason.REFUSED, "the URL holds characters it may not") from None
    except (OSError, http.client.HTTPException) as error:
        raise PassingTrouble(f"{parts.hostname} does not answer: {_words(error)}") from error


def _body(response: http.client.HTTPResponse, offset: int) -> Body:
    status = response.status
    if status == 200:
        begins = 0
    elif status == 206:
        begins = _range_start(response)
        if begins != offset:
            raise PassingTrouble(f"asked from byte {offset} on, the server sent from {begins} on")
    elif status == 416 and offset:
        raise GivenUp(FailureReason.TRUNCATED, f"the server has no byte after the first {offset}")
    elif status in _GONE:
        raise GivenUp(FailureReason.NOT_FOUND, f"the server answered {status}")
    elif 400 <= status < 500 and status not in _PASSING:
        raise GivenUp(FailureReason.REFUSED, f"the server answered {status}")
    else:
        raise PassingTrouble(f"the server answered {status}")
    chunked = bool(response.chunked)
    length = None if chunked else response.length
    return Body(begins, length, chunked or length is not None, response)


def _range_start(response: http.client.HTTPResponse) -> int:
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if found is None:
        raise PassingTrouble("the server sent a part of the file and did not say which")
    return int(found.group(1))


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        return kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    except http.client.InvalidURL:
        raise GivenUp(FailureReason.REFUSED, "the URL's host is none") from None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise GivenUp(FailureReason.REFUSED, "only http and https URLs can be fetched")
    return parts


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
