"""Reading requests: pages, filters, bodies with a cap, and who is asking."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.requests import Request

from fitment_controller.api.failures import RequestError, TooLargeError
from fitment_controller.domain import DeviceFilter

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A portfolio of hundreds of variants with kernels and slices is well below this."""

MAX_PAGE = 1000
ACTOR_HEADER = "Fitment-Actor"

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request) -> Any:
    """The body as JSON, never holding more than `MAX_BODY_BYTES` of it.

    Raises:
        TooLargeError: there is more.
        RequestError: it is not JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(
                f"the body is larger than {MAX_BODY_BYTES} bytes",
                "send files with PUT /v1/blobs/<digest>, not inside JSON",
            )
    try:
        return json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON", "send a JSON object") from None


async def read_record(request: Request, model: type[Model]) -> Model:
    """The body as a record.

    Raises:
        TooLargeError: the body is too large.
        RequestError: it is not JSON.
        ValidationError: it does not fit `model`.
    """
    return model.model_validate(await read_json(request))


def page_of(query: QueryParams) -> tuple[int, str | None]:
    """`limit` (at most `MAX_PAGE`) and `cursor`.

    Raises:
        RequestError: the limit is no positive number.
    """
    return min(number(query, "limit", 100, least=1), MAX_PAGE), query.get("cursor")


def number(query: QueryParams, name: str, default: int, least: int = 0) -> int:
    """A whole-number parameter.

    Raises:
        RequestError: it is no number, or below `least`.
    """
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise RequestError(f"{name}={text!r} is not a whole number from {least} up")
    return int(text)


def device_filter(query: QueryParams) -> DeviceFilter:
    """`id`, `class` and `region` (each may repeat), `label=key=value`, and `online`.

    Raises:
        RequestError: a label without `=`, or `online` that is neither true nor false.
        ValidationError: a name that cannot exist.
    """
    labels = {}
    for text in query.getlist("label"):
        key, found, value = text.partition("=")
        if not found or not key:
            raise RequestError(f"label {text!r} is not key=value")
        labels[key] = value
    online = query.get("online")
    if online not in (None, "true", "false"):
        raise RequestError(f"online={online!r} is neither true nor false")
    return DeviceFilter(
        ids=tuple(query.getlist("id")),
        classes=tuple(query.getlist("class")),
        regions=tuple(query.getlist("region")),
        labels=labels,
        online=None if online is None else online == "true",
    )


def actor_of(request: Request) -> str:
    """Who asks, as the caller says: a name for the log, not an authority."""
    name = request.headers.get(ACTOR_HEADER, "")
    return re.sub(r"[^\w.@-]", "", name)[:64] or "api"
