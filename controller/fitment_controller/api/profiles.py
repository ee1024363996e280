"""Profiles: those in force, and files checked without putting them in force."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fitment_contract.base import Record
from fitment_controller.api.requests import read_record
from fitment_controller.errors import NotFoundError
from fitment_controller.profiles import Profiles, validate
from fitment_controller.profiles.kinds import ProfileKind
from fitment_controller.views.envelope import API_VERSION, listing, single


class ProfileFiles(Record):
    """Profile files to check, by the name that problems are to be reported under."""

    files: dict[str, str] = Field(min_length=1, max_length=1000)


class ProfileRow(Record):
    """One profile in force.

    Attributes:
        source: the file it came from.
    """

    kind: str
    name: str
    title: str
    source: str


class ProfilesApi:
    """Everything about profiles.

    Args:
        profiles: those in force.
    """

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def routes(self) -> list[Route]:
        """What this part answers."""
        return [
            Route("/v1/profiles", self.profiles),
            Route("/v1/profiles/validate", self.validate, methods=["POST"]),
            Route("/v1/profiles/{name}", self.profile),
        ]

    def profiles(self, request: Request) -> Response:
        """All profiles in force, with where they came from."""
        rows = [
            ProfileRow(kind=kind, name=name, title=record.title, source=str(source))
            for (kind, name), source in sorted(self._profiles.sources.items())
            for record in self._called(name, kind)
        ]
        return JSONResponse(listing("ProfileList", rows))

    def profile(self, request: Request) -> Response:
        """One profile as it is in force."""
        name = request.path_params["name"]
        found = self._called(name, request.query_params.get("kind"))
        if not found:
            raise NotFoundError("profile", name, "`fitment profile get` lists them")
        if len(found) > 1:
            return JSONResponse(listing("ProfileList", found))
        return JSONResponse(single(found[0].kind, found[0]))

    async def validate(self, request: Request) -> Response:
        """Every fault of the files sent, as `file:line: what; what would be right`."""
        sent = await read_record(request, ProfileFiles)
        problems = await run_in_threadpool(_validate, sent.files)
        body = {"apiVersion": API_VERSION, "kind": "ProfileProblems", "items": problems}
        return JSONResponse(body)

    def _called(self, name: str, kind: str | None) -> list[ProfileKind]:
        everything: list[ProfileKind] = [
            *self._profiles.classes,
            *self._profiles.regions.values(),
            *self._profiles.objectives.values(),
        ]
        return [
            record for record in everything if record.name == name and kind in (None, record.kind)
        ]


def _validate(files: dict[str, str]) -> list[dict[str, object]]:
    """Checks copies under names of ours: a name that was sent is never used as a path."""
    with tempfile.TemporaryDirectory(prefix="fitment-profiles-") as folder:
        names: dict[Path, str] = {}
        for index, (name, text) in enumerate(files.items()):
            path = Path(folder) / f"{index:04d}{PurePosixPath(name).suffix[:5] or '.yaml'}"
            path.write_text(text, encoding="utf-8")
            names[path] = name
        problems = validate(list(names))
    return [
        {"file": names[item.path], "line": item.line, "what": item.what, "fix": item.fix}
        for item in problems
    ]
