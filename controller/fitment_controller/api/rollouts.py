"""Plans and rollouts."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fitment_contract.base import Record
from fitment_controller.api.requests import actor_of, page_of, read_record
from fitment_controller.domain import Member, MemberState, RolloutRequest
from fitment_controller.service import FleetService
from fitment_controller.views.envelope import listing, single
from fitment_controller.views.rollouts import explain_rollout, rollout_detail, rollout_row

_FAILED = frozenset({MemberState.FAILED, MemberState.TIMED_OUT, MemberState.REVERTED})
_FAILED_LIMIT = 100
_PAGE = 500


class AbortRequest(Record):
    """What becomes of devices that already run the new variant.

    Attributes:
        revert: they go back to what they ran before; otherwise they keep it.
    """

    revert: bool = False


class RolloutsApi:
    """Everything about rollouts.

    Args:
        service: plans, starts and steers them.
    """

    def __init__(self, service: FleetService) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """What this part answers."""
        return [
            Route("/v1/plan", self.plan, methods=["POST"]),
            Route("/v1/rollouts", self.rollouts),
            Route("/v1/rollouts", self.start, methods=["POST"]),
            Route("/v1/rollouts/{id}", self.rollout),
            Route("/v1/rollouts/{id}/members", self.members),
            Route("/v1/rollouts/{id}/explain", self.explain),
            Route("/v1/rollouts/{id}/pause", self.pause, methods=["POST"]),
            Route("/v1/rollouts/{id}/resume", self.resume, methods=["POST"]),
            Route("/v1/rollouts/{id}/abort", self.abort, methods=["POST"]),
        ]

    async def plan(self, request: Request) -> Response:
        """Who would get what and why; changes nothing."""
        wanted = await read_record(request, RolloutRequest)
        return JSONResponse(single("Plan", await run_in_threadpool(self._service.plan, wanted)))

    def rollouts(self, request: Request) -> Response:
        """A page of rollouts, newest first."""
        page = self._service.rollouts(*page_of(request.query_params))
        return JSONResponse(listing("RolloutList", map(rollout_row, page.items), page.next))

    async def start(self, request: Request) -> Response:
        """Plans and begins."""
        wanted = await read_record(request, RolloutRequest)
        rollout = await run_in_threadpool(self._service.start_rollout, wanted, actor_of(request))
        return JSONResponse(single("Rollout", rollout_detail(rollout)), 201)

    def rollout(self, request: Request) -> Response:
        """One rollout with its strata, gates and newest events."""
        id = request.path_params["id"]
        rollout = self._service.rollout(id)
        events = self._service.recent_events(20, rollout=id)
        return JSONResponse(single("Rollout", rollout_detail(rollout, events)))

    def members(self, request: Request) -> Response:
        """A page of the rollout's devices."""
        id = request.path_params["id"]
        page = self._service.rollout_members(id, *page_of(request.query_params))
        return JSONResponse(listing("MemberList", page.items, page.next))

    def explain(self, request: Request) -> Response:
        """Every gate with value, threshold, count and verdict, and the devices that failed."""
        id = request.path_params["id"]
        rollout = self._service.rollout(id)
        return JSONResponse(
            single("RolloutExplanation", explain_rollout(rollout, self._failed(id)))
        )

    def pause(self, request: Request) -> Response:
        """No further device is assigned until it is resumed."""
        rollout = self._service.pause_rollout(request.path_params["id"], actor_of(request))
        return JSONResponse(single("Rollout", rollout_detail(rollout)))

    def resume(self, request: Request) -> Response:
        """Goes on where it was paused."""
        rollout = self._service.resume_rollout(request.path_params["id"], actor_of(request))
        return JSONResponse(single("Rollout", rollout_detail(rollout)))

    async def abort(self, request: Request) -> Response:
        """Ends it; devices keep what they have, or go back with `revert`."""
        wanted = await read_record(request, AbortRequest)
        rollout = await run_in_threadpool(
            self._service.abort_rollout,
            request.path_params["id"],
            actor_of(request),
            wanted.revert,
        )
        return JSONResponse(single("Rollout", rollout_detail(rollout)))

    def _failed(self, id: str) -> list[Member]:
        """The first failed members; a rollout of thousands is read in pages."""
        failed: list[Member] = []
        cursor: str | None = None
        while len(failed) < _FAILED_LIMIT:
            page = self._service.rollout_members(id, _PAGE, cursor)
            failed += [member for member in page.items if member.state in _FAILED]
            cursor = page.next
            if cursor is None:
                break
        return failed[:_FAILED_LIMIT]
