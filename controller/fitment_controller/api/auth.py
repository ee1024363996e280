"""Who may ask. On loopback everybody on this machine; beyond it, whoever holds a token.

Two tokens, because a device must be able to fetch its model and nothing more. On loopback there
is no token, so a web page in a local browser must not be able to act: requests that were addressed
to another host name (DNS rebinding) or come from another origin are refused.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fitment_controller.broker.probe import is_loopback
from fitment_controller.errors import ControllerError
from fitment_controller.views.envelope import problem

API_TOKEN_FILE = "api-token"  # noqa: S105 - a file name
DEVICE_TOKEN_FILE = "device-token"  # noqa: S105 - a file name

_OPEN_PATHS = frozenset({"/healthz"})
_DEVICE_PREFIX = "/v1/artifacts/"
_SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, repr=False)
class Tokens:
    """The two secrets of a controller that listens beyond loopback.

    Attributes:
        api: opens everything.
        device: opens artifacts, and is the devices' password at the embedded broker.
    """

    api: str
    device: str


def load_or_create_token(path: Path) -> str:
    """The token in `path`, which only its owner can read; made when missing, whole or not at all.

    Raises:
        TokenFileError: the file holds no token.
    """
    if not path.exists():
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    path.chmod(0o600)
    token = path.read_text().strip()
    if not token:
        raise TokenFileError(f"{path} is empty", "remove it; a new token is made at the next start")
    return token


class TokenFileError(ControllerError):
    """A token file without a token, which would let everybody in."""

    kind = "token_file"


class TokenGate:
    """Lets requests through that carry the right bearer token.

    Args:
        app: what they are let through to.
        tokens: the secrets.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 itself, or passes the request on."""
        if scope["type"] != "http" or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        body = problem(
            "unauthorized",
            "this controller asks for a token",
            "give the file with the token with --token-file or FITMENT_TOKEN_FILE",
        )
        response = JSONResponse(body, 401, headers={"WWW-Authenticate": "Bearer"})
        await response(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in _OPEN_PATHS:
            return True
        given = _bearer(Headers(scope=scope))
        accepted = [self._tokens.api]
        if path.startswith(_DEVICE_PREFIX):
            accepted.append(self._tokens.device)
        return _is_one_of(given, accepted)


class LocalGate:
    """Lets requests through that a program on this machine addressed to this machine.

    Args:
        app: what they are let through to.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 itself, or passes the request on."""
        if scope["type"] != "http" or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        body = problem(
            "forbidden",
            "this controller serves its own machine only",
            "address it as 127.0.0.1, or start it with --listen for others",
        )
        await JSONResponse(body, 403)(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return False
        origin = headers.get("origin")
        return scope["method"] in _SAFE_METHODS or origin in (None, f"http://{host}")


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_one_of(given: str, accepted: Collection[str]) -> bool:
    """Compares with all of them, each in constant time."""
    matches = [hmac.compare_digest(given.encode(), token.encode()) for token in accepted]
    return bool(given) and any(matches)
