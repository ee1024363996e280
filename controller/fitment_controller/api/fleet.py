"""Status, devices and the log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fitment_contract.base import Name, Record
from fitment_contract.benchmark import BenchmarkMode
from fitment_controller.api.failures import RequestError
from fitment_controller.api.requests import (
    MAX_PAGE,
    actor_of,
    device_filter,
    number,
    page_of,
    read_record,
)
from fitment_controller.domain import LogEntry, Selection
from fitment_controller.service import FleetService
from fitment_controller.views.benchmarks import benchmark_row
from fitment_controller.views.devices import device_detail, device_row
from fitment_controller.views.envelope import listing, single
from fitment_controller.views.status import FleetStatus

MAX_WAIT_SECONDS: Final = 60
_POLL_SECONDS = 0.25
_KEEPALIVE_SECONDS = 15.0
_HISTORY_COUNT = 20


class MeasureRequest(Record):
    """What a device is to measure.

    Attributes:
        model: None for the only one that it runs.
    """

    model: Name | None = None
    mode: BenchmarkMode = BenchmarkMode.QUICK


class FleetApi:
    """Everything about devices.

    Args:
        service: answers.
        status: makes the status view.
        stopping: true once the server is to end; open streams then end too.
    """

    def __init__(
        self,
        service: FleetService,
        status: Callable[[], FleetStatus],
        stopping: Callable[[], bool],
    ) -> None:
        self._service = service
        self._status = status
        self._stopping = stopping

    def routes(self) -> list[Route]:
        """What this part answers."""
        return [
            Route("/v1/status", self.status),
            Route("/v1/devices", self.devices),
            Route("/v1/devices/{id}", self.device),
            Route("/v1/devices/{id}/why", self.why),
            Route("/v1/devices/{id}/benchmarks", self.benchmarks),
            Route("/v1/devices/{id}/benchmarks", self.measure, methods=["POST"]),
            Route("/v1/events", self.events),
        ]

    def status(self, request: Request) -> Response:
        """The one-screen state."""
        return JSONResponse(single("FleetStatus", self._status()))

    def devices(self, request: Request) -> Response:
        """A page of devices with their models, filtered."""
        limit, cursor = page_of(request.query_params)
        page = self._service.devices(device_filter(request.query_params), limit, cursor)
        models = self._service.assignments([device.id for device in page.items])
        rows = [device_row(device, models.get(device.id, ())) for device in page.items]
        return JSONResponse(listing("DeviceList", rows, page.next))

    def device(self, request: Request) -> Response:
        """One device with its facts and newest history."""
        id = request.path_params["id"]
        device = self._service.device(id)
        models = self._service.assignments([id]).get(id, ())
        events = self._service.recent_events(_HISTORY_COUNT, device=id)
        evidence = self._service.benchmarks(id, limit=_HISTORY_COUNT)
        return JSONResponse(single("Device", device_detail(device, models, events, evidence)))

    def why(self, request: Request) -> Response:
        """Every candidate for this device, with its verdict."""
        id, query = request.path_params["id"], request.query_params
        model = query.get("model") or self._only_model(id)
        selection: Selection = self._service.why(id, model, query.get("objective"))
        return JSONResponse({**single("Selection", selection), "device": id})

    def benchmarks(self, request: Request) -> Response:
        """What one device measured, newest first."""
        query = request.query_params
        limit, _ = page_of(query)
        found = self._service.benchmarks(request.path_params["id"], query.get("model"), limit)
        return JSONResponse(listing("BenchmarkList", map(benchmark_row, found)))

    async def measure(self, request: Request) -> Response:
        """Asks the device to measure what it runs; the answer says under which id it was asked."""
        wanted = await read_record(request, MeasureRequest)
        command = await run_in_threadpool(
            self._service.request_benchmark,
            request.path_params["id"],
            wanted.model,
            wanted.mode,
            actor_of(request),
        )
        return JSONResponse(single("BenchmarkRequest", command), 202)

    async def events(self, request: Request) -> Response:
        """The log: newest (`recent`), after an id (`after`, waiting up to `wait`), or a stream."""
        query = request.query_params
        if "recent" in query:
            entries = await run_in_threadpool(
                self._service.recent_events,
                min(number(query, "recent", 100, least=1), MAX_PAGE),
                query.get("device"),
                query.get("rollout"),
            )
            return JSONResponse(listing("EventList", entries))
        after = number(query, "after", 0)
        if "text/event-stream" in request.headers.get("accept", ""):
            after = max(after, number_or_zero(request.headers.get("last-event-id")))
            return StreamingResponse(self._stream(after), media_type="text/event-stream")
        limit, _ = page_of(query)
        wait = min(number(query, "wait", 0), MAX_WAIT_SECONDS)
        entries = await self._entries(after, limit, wait)
        return JSONResponse(listing("EventList", entries))

    async def _entries(self, after: int, limit: int, wait_seconds: float) -> tuple[LogEntry, ...]:
        deadline = time.monotonic() + wait_seconds
        while True:
            entries = await run_in_threadpool(self._service.events, after, limit)
            if entries or self._stopping() or time.monotonic() >= deadline:
                return entries
            await asyncio.sleep(_POLL_SECONDS)

    async def _stream(self, after: int) -> AsyncIterator[str]:
        while not self._stopping():
            entries = await self._entries(after, MAX_PAGE, _KEEPALIVE_SECONDS)
            for entry in entries:
                after = entry.id
                yield f"id: {entry.id}\ndata: {json.dumps(entry.model_dump(mode='json'))}\n\n"
            if not entries:
                yield ": still here\n\n"

    def _only_model(self, device_id: str) -> str:
        names = sorted({version.model for version in self._service.models()})
        if len(names) != 1:
            known = ", ".join(names) or "none is pushed yet"
            raise RequestError(f"which model on {device_id}?", f"name one with model=: {known}")
        return names[0]


def number_or_zero(text: str | None) -> int:
    """A browser's Last-Event-ID; anything odd begins at the beginning."""
    return int(text) if text and text.isascii() and text.isdigit() else 0
