"""Limits over HTTP: the verbs of the limiter; keys travel in bodies, never in paths.

Plain requests to `take` and `take-batch` are answered by `http/limits/fast_path.py`, with the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi.spec import Example
from litestar.params import Body, JSONBody
from msgspec import convert

from tollhouse.http.authentication import require_role
from tollhouse.http.limits import holds as limit_holds
from tollhouse.http.limits.openapi import COMMON_RESPONSES, RATE_LIMIT_FIELDS, TAKE_ALL_RESPONSES, TAKE_RESPONSES
from tollhouse.http.limits.responses import TakeResponses, batch_response, response, take_responses
from tollhouse.http.limits.schemas import (
    AcquireBody,
    PoliciesAnswer,
    PolicyAnswer,
    ResetAnswer,
    SubjectBody,
    TakeAllBody,
    TakeUpToBody,
    units_named,
)
from tollhouse.limits.decision import Decision, Take, TakeAllResult
from tollhouse.limits.limiter import Limiter

_EXAMPLE: Final = {"policy": "api", "key": "customer-7", "cost": 1}
TakeBody = Annotated[Take, Body(examples=[Example(value=_EXAMPLE)])]
BatchBody = Annotated[list[Take], Body(description="Up to 256 takes.", examples=[Example(value=[_EXAMPLE])])]


@post("/take", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def take(
    data: TakeBody, limits: NamedDependency[Limiter], answers: NamedDependency[TakeResponses]
) -> Response[Decision]:
    """Take `cost` units: 200 with the decision, or 429 with the same members as problem details.

    Without a cost, the policy's own is taken. A cost of 0 takes nothing and tells whether there is room.
    """
    decision = await limits.take(data.policy, data.key, data.cost)
    return response(answers.take(decision))


@post("/take-batch", status_code=200, responses=COMMON_RESPONSES)
async def take_batch(data: BatchBody, limits: NamedDependency[Limiter]) -> Response[list[Decision]]:
    """Take for up to 256 subjects, each decided on its own: 200 with the decisions in order, whatever they are."""
    return response(batch_response(await limits.take_batch(data)))


@post("/take-all", status_code=200, responses=TAKE_ALL_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def take_all(
    data: JSONBody[TakeAllBody], limits: NamedDependency[Limiter], answers: NamedDependency[TakeResponses]
) -> Response[TakeAllResult]:
    """Take for several policies and subjects as one: all are charged, or none is and the answer is 429."""
    together = await limits.take_all(data.takes)
    return response(answers.take(together))


@post("/take-up-to", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def take_up_to(
    data: JSONBody[TakeUpToBody], limits: NamedDependency[Limiter], answers: NamedDependency[TakeResponses]
) -> Response[Decision]:
    """Take as many units as there is room for, `most` at most; `cost` says how many. 429 where not one fits."""
    with units_named("most"):
        decision = await limits.take_up_to(data.policy, data.key, data.most)
    return response(answers.take(decision))


@post("/acquire", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def acquire(
    data: JSONBody[AcquireBody], limits: NamedDependency[Limiter], answers: NamedDependency[TakeResponses]
) -> Response[Decision]:
    """Take, and wait for up to `wait_ms` where there is no room yet; then answer as `take` does."""
    decision = await limits.acquire(data.policy, data.key, data.cost, wait_ms=data.wait_ms)
    return response(answers.take(decision))


@post("/peek", status_code=200, responses=COMMON_RESPONSES)
async def peek(data: TakeBody, limits: NamedDependency[Limiter]) -> Decision:
    """Tell what a take would be answered, and change nothing."""
    return await limits.peek(data.policy, data.key, data.cost)


@post("/refund", status_code=200, responses=COMMON_RESPONSES)
async def refund(data: TakeBody, limits: NamedDependency[Limiter]) -> Decision:
    """Give units back, never more than were taken; `cost` says how many."""
    return await limits.refund(data.policy, data.key, data.cost)


@post("/reset", status_code=200, responses=COMMON_RESPONSES)
async def reset(data: JSONBody[SubjectBody], limits: NamedDependency[Limiter]) -> ResetAnswer:
    """Forget what a subject has taken; `reset` tells whether there was anything."""
    return ResetAnswer(reset=await limits.reset(data.policy, data.key))


@get("/", responses={status: COMMON_RESPONSES[status] for status in (401, 403)})
async def list_policies(limits: NamedDependency[Limiter]) -> PoliciesAnswer:
    """List the policies that can be named, in order of their names."""
    listed = sorted(limits.policies.items())
    return PoliciesAnswer(policies=[convert(policy, PolicyAnswer, from_attributes=True) for _, policy in listed])


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
        *limit_holds.HANDLERS,
        list_policies,
    ],
    guards=[require_role("service")],
    dependencies={"answers": Provide(take_responses, sync_to_thread=False)},
    opt={"auth": True},
)
