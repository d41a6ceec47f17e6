"""Limits over HTTP: the verbs of the limiter; keys travel in bodies, never in paths."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tollhouse.asgi.refusal import refusal
from tollhouse.http.callers import needs
from tollhouse.http.problems import answered
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.headers import fields
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy import Policy


class TakeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to take: `cost` units under `policy` for the subject `key`."""

    policy: str
    key: str
    cost: Annotated[int, Meta(ge=0)] = 1


class ResetBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which subject to forget."""

    policy: str
    key: str


@post("/take", status_code=200)
async def take(data: JSONBody[TakeBody], limits: NamedDependency[Limiter]) -> Response[Any]:
    """Take units: 200 with the decision, or 429 with the same members as problem details."""
    decision = await limits.take(data.policy, data.key, data.cost)
    if decision.allowed:
        return Response(decision, headers=dict(fields(decision)))
    return answered(refusal(decision))


@post("/take-batch", status_code=200)
async def take_batch(data: JSONBody[list[TakeBody]], limits: NamedDependency[Limiter]) -> list[Decision]:
    """Take for several subjects, each decided on its own."""
    return await limits.take_batch([Take(policy=one.policy, key=one.key, cost=one.cost) for one in data])


@post("/peek", status_code=200)
async def peek(data: JSONBody[TakeBody], limits: NamedDependency[Limiter]) -> Decision:
    """Tell what a take would find, and change nothing."""
    return await limits.peek(data.policy, data.key, data.cost)


@post("/reset", status_code=200)
async def reset(data: JSONBody[ResetBody], limits: NamedDependency[Limiter]) -> dict[str, bool]:
    """Forget what a subject has taken; `reset` tells whether there was anything."""
    return {"reset": await limits.reset(data.policy, data.key)}


@get("/")
async def list_policies(limits: NamedDependency[Limiter]) -> dict[str, list[Policy]]:
    """List the policies that can be named."""
    return {"policies": list(limits.policies.values())}


ROUTER = Router(
    "/v1/limits",
    route_handlers=[take, take_batch, peek, reset, list_policies],
    guards=[needs("service")],
    opt={"auth": True},
)
