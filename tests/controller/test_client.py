"""The client against servers that misbehave."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fitment_controller.broker.probe import free_port
from fitment_controller.client import ApiError, Client, UnreachableError, connect, quoted
from fitment_controller.settings import ClientSettings


@contextmanager
def serving(status: int, body: bytes) -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """A server that answers everything in one way, and remembers what it was asked."""
    seen: list[BaseHTTPRequestHandler] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_error_in_the_controllers_frame_keeps_its_words() -> None:
    body = {"reason": "missing_blobs", "detail": "two", "next": "upload", "digests": ["a"]}
    with serving(409, json.dumps(body).encode()) as (url, _), pytest.raises(ApiError) as caught:
        Client(url).post("/v1/models", {})
    error = caught.value
    assert (error.status, error.reason, error.detail) == (409, "missing_blobs", "two")
    assert error.next_step == "upload"
    assert error.body["digests"] == ["a"]


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b"\xff\xfe"])
def test_an_error_from_something_else_is_still_an_error(body: bytes) -> None:
    with serving(502, body) as (url, _), pytest.raises(ApiError, match="502") as caught:
        Client(url).get("/v1/status")
    assert caught.value.reason == "internal"


@pytest.mark.parametrize("body", [b"", b"<html>Hello</html>"])
def test_an_answer_that_is_no_json_is_not_a_controller(body: bytes) -> None:
    with serving(200, body) as (url, _), pytest.raises(UnreachableError, match="not a controller"):
        Client(url).get("/v1/status")


def test_nobody_there_and_nobody_answering() -> None:
    with pytest.raises(UnreachableError) as caught:
        Client(f"http://127.0.0.1:{free_port('127.0.0.1')}").get("/v1/status")
    assert "fitment up" in caught.value.next_step
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accept = threading.Thread(target=lambda: listener.accept()[0].close())
        accept.start()
        with pytest.raises(UnreachableError):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}").get("/v1/status")
        accept.join()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8780", "ftp://x", "http://"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UnreachableError, match="not a controller's address"):
        Client(url)


def test_the_token_travels_in_the_header_only(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    with serving(200, b"{}") as (url, seen):
        client = connect(ClientSettings(tmp_path, url=url, token_file=token))
        client.get("/v1/status", {"region": ["a", "b"], "limit": None})
    assert seen[0].headers["Authorization"] == "Bearer sesame"
    assert seen[0].path == "/v1/status?region=a&region=b"
    assert "sesame" not in repr(client)


def test_an_unreadable_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="missing-token"):
        connect(ClientSettings(tmp_path, token_file=tmp_path / "missing-token"))


def test_the_token_of_the_local_controller_goes_to_no_other(tmp_path: Path) -> None:
    token = tmp_path / "api-token"
    token.write_text("sesame")
    with serving(200, b"{}") as (local, seen_local), serving(200, b"{}") as (other, seen_other):
        ready = {"url": local, "api_token_file": str(token)}
        (tmp_path / "ready.json").write_text(json.dumps(ready))
        connect(ClientSettings(tmp_path)).get("/")
        connect(ClientSettings(tmp_path, url=other)).get("/")
    assert seen_local[0].headers["Authorization"] == "Bearer sesame"
    assert seen_other[0].headers["Authorization"] is None


@pytest.mark.parametrize("content", ["", "not json", "[]"])
def test_a_damaged_ready_file_is_no_controller(content: str, tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text(content)
    assert connect(ClientSettings(tmp_path)).url == "http://127.0.0.1:8780"


def test_names_cannot_leave_their_level_of_the_path() -> None:
    assert quoted("a/../b?c#d") == "/a%2F..%2Fb%3Fc%23d"
    assert quoted("activity", "3") == "/activity/3"
