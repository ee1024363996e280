"""Models, their bytes, and artifacts as devices fetch them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from anyio import from_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from fitment_contract.portfolio import Portfolio
from fitment_controller.api.failures import LengthRequiredError, RequestError, TooLargeError
from fitment_controller.api.requests import actor_of, read_record
from fitment_controller.errors import NotFoundError
from fitment_controller.service import FleetService
from fitment_controller.views.envelope import listing, single
from fitment_controller.views.models import model_detail, model_row

MAX_BLOB_BYTES: Final = 4 * 1024**3
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOR_EVER = "public, max-age=31536000, immutable"


class ModelsApi:
    """Everything about models.

    Args:
        service: answers, and holds the blobs.
    """

    def __init__(self, service: FleetService) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """What this part answers."""
        return [
            Route("/v1/models", self.models),
            Route("/v1/models", self.push, methods=["POST"]),
            Route("/v1/models/{name}", self.model),
            Route("/v1/models/{name}/{version:int}", self.model),
            Route("/v1/blobs/{digest}", self.upload, methods=["PUT"]),
            Route("/v1/blobs/{digest}", self.artifact, methods=["HEAD"]),
            Route("/v1/artifacts/{digest}", self.artifact),
        ]

    def models(self, request: Request) -> Response:
        """All model versions."""
        return JSONResponse(listing("ModelList", map(model_row, self._service.models())))

    def model(self, request: Request) -> Response:
        """One version of a model, the newest when none is named, with its variants."""
        name, version = request.path_params["name"], request.path_params.get("version")
        found = self._service.model(name, version)
        return JSONResponse(single("Model", model_detail(found, self._service.fleet_summary())))

    async def push(self, request: Request) -> Response:
        """Registers a portfolio whose blobs are all here; 409 names those that are not."""
        portfolio = await read_record(request, Portfolio)
        version = await run_in_threadpool(self._service.push_model, portfolio, actor_of(request))
        return JSONResponse(single("Model", model_row(version)), 201)

    async def upload(self, request: Request) -> Response:
        """Stores a blob under its digest while it arrives; the store verifies it."""
        digest = _digest(request)
        size = _announced_size(request)
        body = _BodyReader(request.stream())
        await run_in_threadpool(self._service.blobs.put, body, digest, size)
        return Response(status_code=201)

    def artifact(self, request: Request) -> Response:
        """The bytes, whole or in ranges. They never change, so caches may keep them for ever."""
        digest = _digest(request)
        if not self._service.blobs.has(digest):
            raise NotFoundError("artifact", digest)
        etag = f'"{digest}"'
        headers = {"ETag": etag, "Cache-Control": _FOR_EVER}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return FileResponse(
            self._service.blobs.path(digest),
            headers=headers,
            media_type="application/octet-stream",
        )


class _BodyReader:
    """A request's body as a file that a worker thread reads while the event loop receives."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that is left when negative; empty at the end."""
        parts, wanted = [self._left], size
        have = len(self._left)
        while not self._ended and (wanted < 0 or have == 0):
            chunk = from_thread.run(self._next)
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        if wanted < 0:
            self._left = b""
            return data
        self._left = data[wanted:]
        return data[:wanted]

    async def _next(self) -> bytes:
        try:
            return await self._chunks.__anext__()
        except StopAsyncIteration:
            self._ended = True
            return b""


def _digest(request: Request) -> str:
    digest: str = request.path_params["digest"]
    if not _DIGEST.fullmatch(digest):
        raise RequestError(f"{digest[:80]!r} is not a SHA-256 in lower-case hexadecimal")
    return digest


def _announced_size(request: Request) -> int:
    text = request.headers.get("content-length", "")
    if not text.isdigit():
        raise LengthRequiredError("a blob is uploaded with a Content-Length")
    if int(text) > MAX_BLOB_BYTES:
        raise TooLargeError(f"{text} bytes; a blob has at most {MAX_BLOB_BYTES}")
    return int(text)
