"""Limits over HTTP: one route for each verb of the limiter. Keys travel in bodies, never in paths.

`tollhouse serve` answers plain requests to `take` and `take-batch` by `http/limits/fast_path.py`, with the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import Body, JSONBody
from msgspec import convert

from tollhouse.asgi.disconnect import GONE, while_connected
from tollhouse.asgi.types import Receive
from tollhouse.http.authentication import require_role
from tollhouse.http.limits.openapi import COMMON_RESPONSES, RATE_LIMIT_FIELDS, TAKE_ALL_RESPONSES, TAKE_RESPONSES
from tollhouse.http.limits.responses import TakeResponses, batch_response
from tollhouse.http.limits.schemas import (
    AcquireBody,
    HoldAnswer,
    LeaseBody,
    PermitBody,
    PoliciesAnswer,
    PolicyAnswer,
    ReleasedAnswer,
    RenewedAnswer,
    ReserveBody,
    ResetAnswer,
    SettleBody,
    SubjectBody,
    TakeAllBody,
    TakeUpToBody,
    units_named,
)
from tollhouse.http.openapi import KEY, problems
from tollhouse.http.problems import litestar_response
from tollhouse.limits.decision import Decision, Lease, Settlement, Take, TakeAllResult
from tollhouse.limits.limiter import Limiter

_EXAMPLE: Final = {"policy": "api", "key": "customer-7", "cost": 1}
"""The response to a client that has disconnected: a word for logs, because it is not sent."""
TakeBody = Annotated[Take, Body(examples=[Example(value=_EXAMPLE)])]
BatchBody = Annotated[list[Take], Body(description="Up to 256 takes.", examples=[Example(value=[_EXAMPLE])])]


@post("/take", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def take(
    data: TakeBody, limits: NamedDependency[Limiter], responses: NamedDependency[TakeResponses]
) -> Response[Decision]:
    """Take `cost` units: 200 with the decision, or 429 with the same members as problem details.

    Without `cost`, the policy's own cost is taken. A cost of 0 takes nothing and checks whether there is room.
    """
    decision = await limits.take(data.policy, data.key, data.cost)
    return litestar_response(responses.take(decision))


@post("/take-batch", status_code=200, responses=COMMON_RESPONSES)
async def take_batch(data: BatchBody, limits: NamedDependency[Limiter]) -> Response[list[Decision]]:
    """Take for up to 256 subjects, each decided on its own: 200 with the decisions in order, refusals included."""
    return litestar_response(batch_response(await limits.take_batch(data)))


@post("/take-all", status_code=200, responses=TAKE_ALL_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def take_all(
    data: JSONBody[TakeAllBody], limits: NamedDependency[Limiter], responses: NamedDependency[TakeResponses]
) -> Response[TakeAllResult]:
    """Take from several policies and subjects, all or nothing: if one refuses, none is charged. 429 if refused."""
    result = await limits.take_all(data.takes)
    return litestar_response(responses.take(result))


@post("/take-up-to", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def take_up_to(
    data: JSONBody[TakeUpToBody], limits: NamedDependency[Limiter], responses: NamedDependency[TakeResponses]
) -> Response[Decision]:
    """Take as many units as there is room for, at most `most`; `cost` is how many were taken. 429 if none fits."""
    with units_named("most"):
        decision = await limits.take_up_to(data.policy, data.key, data.most)
    return litestar_response(responses.take(decision))


@post("/acquire", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def acquire(
    data: JSONBody[AcquireBody],
    request: Request[Any, Any, Any],
    limits: NamedDependency[Limiter],
    responses: NamedDependency[TakeResponses],
) -> Response[Decision]:
    """Take, waiting up to `wait_ms` for room; the response is that of `take`.

    A client that disconnects while it waits takes nothing.
    """
    work = limits.acquire(data.policy, data.key, data.cost, wait_ms=data.wait_ms)
    decision = await while_connected(cast("Receive", request.receive), work, limits.undo)
    return litestar_response(GONE if decision is None else responses.take(decision))


@post("/peek", status_code=200, responses=COMMON_RESPONSES)
async def peek(data: TakeBody, limits: NamedDependency[Limiter]) -> Decision:
    """Return the decision that a take would get, and change nothing."""
    return await limits.peek(data.policy, data.key, data.cost)


@post("/refund", status_code=200, responses=COMMON_RESPONSES)
async def refund(data: TakeBody, limits: NamedDependency[Limiter]) -> Decision:
    """Refund `cost` units, at most as many as were taken."""
    return await limits.refund(data.policy, data.key, data.cost)


@post("/reset", status_code=200, responses=COMMON_RESPONSES)
async def reset(data: JSONBody[SubjectBody], limits: NamedDependency[Limiter]) -> ResetAnswer:
    """Delete what is counted of a subject; `reset` is false if nothing was."""
    return ResetAnswer(reset=await limits.reset(data.policy, data.key))


@post("/reserve", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def reserve(
    data: JSONBody[ReserveBody], limits: NamedDependency[Limiter], responses: NamedDependency[TakeResponses]
) -> Response[HoldAnswer]:
    """Hold units until `settle` charges the number that was needed, or until `hold_ms` have passed."""
    with units_named("estimate"):
        reservation = await limits.reserve(data.policy, data.key, data.estimate, data.hold_ms)
    return litestar_response(responses.hold(reservation.decision, reservation.id))


@post("/settle", status_code=200, responses=COMMON_RESPONSES)
async def settle(data: JSONBody[SettleBody], limits: NamedDependency[Limiter]) -> Settlement:
    """Charge the actual units in place of those on hold; a reservation can be settled once."""
    with units_named("actual"):
        return await limits.settle(data.policy, data.key, data.id, data.actual)


@post("/lease", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def lease(
    data: JSONBody[LeaseBody],
    request: Request[Any, Any, Any],
    limits: NamedDependency[Limiter],
    responses: NamedDependency[TakeResponses],
) -> Response[HoldAnswer]:
    """Lease a permit of a `concurrency` policy until it is released; renew it before the policy's window is over.

    A client that disconnects while it waits holds no permit.
    """

    async def release(unheard: Lease) -> None:
        if unheard.id is not None:
            await limits.release(data.policy, data.key, unheard.id)

    work = limits.lease(data.policy, data.key, wait_ms=data.wait_ms)
    lease = await while_connected(cast("Receive", request.receive), work, release)
    return litestar_response(GONE if lease is None else responses.hold(lease.decision, lease.id))


@post("/renew", status_code=200, responses=COMMON_RESPONSES)
async def renew(data: JSONBody[PermitBody], limits: NamedDependency[Limiter]) -> RenewedAnswer:
    """Extend a lease by another window; `renewed` is false if the lease is over already."""
    return RenewedAnswer(renewed=await limits.renew(data.policy, data.key, data.id))


@post("/release", status_code=200, responses=COMMON_RESPONSES)
async def release(data: JSONBody[PermitBody], limits: NamedDependency[Limiter]) -> ReleasedAnswer:
    """Release a permit; `released` is false if the lease was over already."""
    return ReleasedAnswer(released=await limits.release(data.policy, data.key, data.id))


@get("/", responses=problems(400, 401, 403, 429))
async def list_policies(limits: NamedDependency[Limiter]) -> PoliciesAnswer:
    """List the policies in force, sorted by name."""
    policies = [policy for _, policy in sorted(limits.policies.items())]
    return PoliciesAnswer(policies=[convert(policy, PolicyAnswer, from_attributes=True) for policy in policies])


ROUTER = Router(
    "/v1/limits",
    route_handlers=[
        take,
        take_batch,
        take_all,
        take_up_to,
        acquire,
        peek,
        refund,
        reset,
        reserve,
        settle,
        lease,
        renew,
        release,
        list_policies,
    ],
    guards=[require_role("service")],
    opt={"auth": True},
    security=KEY,
)
