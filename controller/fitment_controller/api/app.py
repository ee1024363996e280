"""All routes in one application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fitment_controller.api import failures
from fitment_controller.api.auth import LocalGate, TokenGate, Tokens
from fitment_controller.api.fleet import FleetApi
from fitment_controller.api.models import ModelsApi
from fitment_controller.api.profiles import ProfilesApi
from fitment_controller.api.rollouts import RolloutsApi
from fitment_controller.errors import ControllerError
from fitment_controller.metrics import CONTENT_TYPE
from fitment_controller.service import FleetService
from fitment_controller.views.status import FleetStatus


@dataclass(frozen=True)
class ApiParts:
    """What the application stands on.

    Attributes:
        service: answers everything about the fleet.
        status: makes the status view.
        metrics: the scrape, in Prometheus' text format.
        healthy: whether database, broker and gateway work.
        stopping: true once the server is to end.
        tokens: asked for on every request; None on loopback.
    """

    service: FleetService
    status: Callable[[], FleetStatus]
    metrics: Callable[[], bytes]
    healthy: Callable[[], bool]
    stopping: Callable[[], bool]
    tokens: Tokens | None


def create_app(parts: ApiParts) -> Starlette:
    """The application, ready to be served."""

    def health(request: Request) -> Response:
        healthy = parts.healthy()
        return JSONResponse({"healthy": healthy}, 200 if healthy else 503)

    def metrics(request: Request) -> Response:
        return Response(parts.metrics(), media_type=CONTENT_TYPE)

    gate = Middleware(TokenGate, tokens=parts.tokens) if parts.tokens else Middleware(LocalGate)
    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/metrics", metrics),
            *FleetApi(parts.service, parts.status, parts.stopping).routes(),
            *ModelsApi(parts.service).routes(),
            *ProfilesApi(parts.service.profiles).routes(),
            *RolloutsApi(parts.service).routes(),
        ],
        middleware=[gate],
        exception_handlers={
            ControllerError: failures.on_controller_error,
            ValidationError: failures.on_validation_error,
            HTTPException: failures.on_http_error,
            OSError: failures.on_os_error,
            Exception: failures.on_crash,
        },
    )
