"""A real HTTP server on loopback that serves one file and misbehaves on request."""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    Attributes:
        status: anything but 200 is sent without the file.
        body: instead of the served file.
        cut_after: end the connection after this many payload bytes.
        reset: end it with a TCP reset, which may take bytes with it that were sent.
        ignore_range: send everything from the start, with 200.
        wrong_range: answer a range with bytes from further on.
        chunked: chunked framing instead of a length.
        bare: neither a length nor chunks: the end of the connection ends the file.
        location: redirect to this URL.
    """

    status: int = 200
    body: bytes | None = None
    cut_after: int | None = None
    reset: bool = False
    ignore_range: bool = False
    wrong_range: bool = False
    chunked: bool = False
    bare: bool = False
    location: str | None = None


@dataclass
class Request:
    """What was asked, and how many payload bytes went out."""

    path: str
    headers: dict[str, str]
    sent: int = 0


@dataclass
class FileServer:
    """Serves `body`, as `script` says: one answer per request, the last one for all that follow."""

    body: bytes
    script: list[Answer] = field(default_factory=lambda: [Answer()])
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file"

    def next_answer(self) -> Answer:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def serving(body: bytes, *script: Answer) -> Iterator[FileServer]:
    """A running server."""
    state = FileServer(body, list(script) or [Answer()])

    class Handler(_Handler):
        server_state = state

    with _Server(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has seen enough hangs up; that is what some tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # typeshed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: FileServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests look at `requests`."""

    def do_GET(self) -> None:
        answer = self.server_state.next_answer()
        request = Request(self.path, dict(self.headers))
        self.server_state.requests.append(request)
        self.close_connection = True
        if answer.location is not None:
            self._head(302, {"Location": answer.location, "Content-Length": "0"})
        elif answer.status != 200:
            self._head(answer.status, {"Content-Length": "0"})
        else:
            self._send_file(answer, request)

    def _send_file(self, answer: Answer, request: Request) -> None:
        body = self.server_state.body if answer.body is None else answer.body
        asked = _RANGE.match(request.headers.get("Range", ""))
        start = int(asked.group(1)) if asked and not answer.ignore_range else 0
        if start and start >= len(body):
            self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            return
        if answer.wrong_range:
            start += 10
        part = body[start:]
        headers = {}
        if answer.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not answer.bare:
            headers["Content-Length"] = str(len(part))
        partial = bool(asked) and not answer.ignore_range
        if partial:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._head(206 if partial else 200, headers)
        sent = part if answer.cut_after is None else part[: answer.cut_after]
        request.sent = len(sent)
        if answer.chunked:
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(sent), sent))
        else:
            self.wfile.write(sent)
        if answer.cut_after is not None:
            self._cut(answer.reset)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _cut(self, reset: bool) -> None:
        """End the connection in the middle of the payload."""
        self.wfile.flush()
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_WR)
