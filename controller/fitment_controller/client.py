"""The command line's HTTP client: the standard library only, so that commands start quickly."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from fitment_controller.errors import ControllerError
from fitment_controller.settings import DEFAULT_PORT, ClientSettings

Parameters = Mapping[str, Any]

_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 256 * 1024
_READY_FILE: Final = "ready.json"


class ApiError(ControllerError):
    """The controller answered with an error.

    Attributes:
        status: of the HTTP answer.
        reason: the controller's stable word for it.
        body: the whole answer, with fields such as `digests` or `reasons`.
    """

    kind = "api"

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(
            str(body.get("detail") or f"the controller answered with status {status}"),
            str(body.get("next") or ""),
        )
        self.status = status
        self.reason = str(body.get("reason") or "internal")
        self.body = body


class UnreachableError(ControllerError):
    """No controller answers at the address."""

    kind = "unreachable"


class Client:
    """Speaks to one controller.

    Args:
        url: where it is.
        token: bearer token, or None on loopback.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UnreachableError(
                f"{url!r} is not a controller's address", "write it as http://host:8780"
            )
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._token = token

    def get(self, path: str, parameters: Parameters | None = None) -> dict[str, Any]:
        """A JSON object. Path and errors as for all methods here.

        Args:
            path: absolute, its parts already quoted (`quoted`).
            parameters: of the query; None values are left out, lists repeat.

        Raises:
            ApiError: the controller refused.
            UnreachableError: nobody answers.
        """
        return self._json("GET", path, parameters)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends JSON and returns the answer."""
        return self._json("POST", path, None, json.dumps(body or {}).encode())

    def pages(self, path: str, parameters: Parameters | None = None) -> Iterator[dict[str, Any]]:
        """All items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, {**(parameters or {}), "limit": 500, "cursor": cursor})
            yield from page["items"]
            cursor = page.get("next")
            if cursor is None:
                return

    def has_blob(self, digest: str) -> bool:
        """Whether the controller holds these bytes."""
        try:
            with self._exchange("HEAD", f"/v1/blobs/{digest}"):
                return True
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    def put_blob(self, digest: str, path: Path, progress: Callable[[int], None]) -> None:
        """Uploads a file while reading it; `progress` is told the bytes of each chunk."""
        headers = {"Content-Length": str(path.stat().st_size)}
        with (
            path.open("rb") as file,
            self._exchange(
                "PUT", f"/v1/blobs/{digest}", headers=headers, body=_chunks(file, progress)
            ),
        ):
            pass

    def events(self, after: int) -> Iterator[dict[str, Any]]:
        """The log after an id, for ever, entry by entry as they come."""
        while True:
            page = self.get("/v1/events", {"after": after, "wait": 20, "limit": 500})
            for entry in page["items"]:
                after = entry["id"]
                yield entry

    def _json(
        self,
        method: str,
        path: str,
        parameters: Parameters | None = None,
        body: bytes | None = None,
    ) -> dict[str, Any]:
        query = urlencode(
            {name: value for name, value in (parameters or {}).items() if value is not None},
            doseq=True,
        )
        headers = {"Content-Type": "application/json"} if body is not None else {}
        where = f"{path}?{query}" if query else path
        with self._exchange(method, where, headers=headers, body=body) as response:
            answer = _object(response.read())
        if answer is None:
            raise UnreachableError(
                f"what answers at {self.url} is not a controller", "name another with --url"
            )
        return answer

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            response = self._answer(connection, method, path, dict(headers or {}), body)
            if response.status >= 400:
                raise ApiError(response.status, _object(response.read()) or {})
            yield response
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(
                f"no controller answers at {self.url} ({cause})",
                "start one with `fitment up`, or name another with --url",
            ) from None
        finally:
            connection.close()

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | Iterator[bytes] | None,
    ) -> http.client.HTTPResponse:
        headers["Fitment-Actor"] = _user()
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        # A server that refuses early closes before it read everything; its answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, f"{self._prefix}{path}", body=body, headers=headers)
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host,
                self._port,
                timeout=_TIMEOUT_SECONDS,
                context=ssl.create_default_context(),
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)


def connect(settings: ClientSettings) -> Client:
    """A client for the controller that flags, environment or the data directory name.

    Raises:
        UnreachableError: the address or the token file cannot be used.
    """
    ready = _ready(settings.data_dir)
    url = settings.url or ready.get("url") or f"http://127.0.0.1:{DEFAULT_PORT}"
    token_file = settings.token_file
    if token_file is None and settings.url in (None, ready.get("url")):
        named = ready.get("api_token_file")
        token_file = Path(named) if named else None
    if token_file is None:
        return Client(url)
    try:
        return Client(url, token_file.read_text().strip())
    except OSError as error:
        raise UnreachableError(
            f"the token file {token_file} cannot be read: {error.strerror}",
            "name a readable one with --token-file",
        ) from None


def quoted(*parts: str) -> str:
    """A path of which each part is one level, whatever it holds."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _ready(data_dir: Path) -> dict[str, Any]:
    """What a controller on this machine left; empty when there is none."""
    try:
        return _object((data_dir / _READY_FILE).read_bytes()) or {}
    except OSError:
        return {}


def _chunks(file: Any, progress: Callable[[int], None]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        progress(len(chunk))
        yield chunk


def _object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body`, or None when it holds something else."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
