"""Exceptions to status codes and JSON bodies, once, at the boundary."""

from __future__ import annotations

import errno
import logging
from typing import Any, Final

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fitment_controller.errors import ControllerError, MissingBlobs, PlanRefused, ProfileError
from fitment_controller.views.envelope import problem

_log = logging.getLogger(__name__)

_STATUS: Final = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "missing_blobs": 409,
    "plan_refused": 409,
    "length_required": 411,
    "too_large": 413,
    "blob": 422,
    "portfolio": 422,
    "profile": 422,
    "store": 503,
}


class RequestError(ControllerError):
    """The request itself is wrong: a parameter, a body, a header."""

    kind = "bad_request"


class TooLargeError(ControllerError):
    """The body is larger than what is read."""

    kind = "too_large"


class LengthRequiredError(ControllerError):
    """The request does not say how long its body is."""

    kind = "length_required"


def refuse(error: ControllerError) -> JSONResponse:
    """The answer to an error that this package raised on purpose."""
    fields: dict[str, Any] = {}
    if isinstance(error, MissingBlobs):
        fields["digests"] = list(error.digests)
    elif isinstance(error, PlanRefused):
        fields["reasons"] = list(error.reasons)
    elif isinstance(error, ProfileError):
        fields["problems"] = list(error.problems)
    status = _STATUS.get(error.kind, 500)
    return JSONResponse(problem(error.kind, error.detail, error.next_step, **fields), status)


def describe(error: ValidationError) -> str:
    """The first faults of a body or parameter, without echoing what was sent."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:3]
    lines = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults]
    more = error.error_count() - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")


def on_controller_error(request: Request, error: Exception) -> Response:
    """Handler for the root of this package's errors."""
    assert isinstance(error, ControllerError)
    return refuse(error)


def on_validation_error(request: Request, error: Exception) -> Response:
    """Handler for bodies and parameters that do not fit their record."""
    assert isinstance(error, ValidationError)
    return refuse(RequestError(describe(error), "correct the request"))


def on_http_error(request: Request, error: Exception) -> Response:
    """Handler for what routing itself refuses."""
    assert isinstance(error, HTTPException)
    reason = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    body = problem(reason, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(body, error.status_code, headers=error.headers)


def on_os_error(request: Request, error: Exception) -> Response:
    """Handler for the disk; a full one is the operator's to mend."""
    assert isinstance(error, OSError)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        body = problem("disk_full", "headquarters' disk is full", "make room in the data directory")
        return JSONResponse(body, 507)
    return on_crash(request, error)


def on_crash(request: Request, error: Exception) -> Response:
    """Handler for everything unforeseen: the trace goes to the log, not to the caller."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    body = problem("internal", "the controller failed on this request", "read the controller's log")
    return JSONResponse(body, 500)
