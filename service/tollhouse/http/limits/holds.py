"""What is held over HTTP: reservations until they are settled, and leases until they are released."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from tollhouse.http.limits.openapi import COMMON_RESPONSES, RATE_LIMIT_FIELDS, TAKE_RESPONSES
from tollhouse.http.limits.responses import TakeResponses, response
from tollhouse.http.limits.schemas import (
    HoldAnswer,
    LeaseBody,
    PermitBody,
    ReleasedAnswer,
    RenewedAnswer,
    ReserveBody,
    SettleBody,
    units_named,
)
from tollhouse.limits.decision import Settlement
from tollhouse.limits.limiter import Limiter


@post("/reserve", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def reserve(
    data: JSONBody[ReserveBody], limits: NamedDependency[Limiter], answers: NamedDependency[TakeResponses]
) -> Response[HoldAnswer]:
    """Hold units until `settle` says how many were needed, or until `hold_ms` have passed."""
    with units_named("estimate"):
        reservation = await limits.reserve(data.policy, data.key, data.estimate, data.hold_ms)
    return response(answers.hold(reservation.decision, reservation.id))


@post("/settle", status_code=200, responses=COMMON_RESPONSES)
async def settle(data: JSONBody[SettleBody], limits: NamedDependency[Limiter]) -> Settlement:
    """Charge what was needed in place of what was held; a reservation is settled once."""
    with units_named("actual"):
        return await limits.settle(data.policy, data.key, data.id, data.actual)


@post("/lease", status_code=200, responses=TAKE_RESPONSES, response_headers=RATE_LIMIT_FIELDS)
async def lease(
    data: JSONBody[LeaseBody], limits: NamedDependency[Limiter], answers: NamedDependency[TakeResponses]
) -> Response[HoldAnswer]:
    """Hold a permit of a `concurrency` policy until it is released; renew it before the policy's window is over."""
    lease = await limits.lease(data.policy, data.key, wait_ms=data.wait_ms)
    return response(answers.hold(lease.decision, lease.id))


@post("/renew", status_code=200, responses=COMMON_RESPONSES)
async def renew(data: JSONBody[PermitBody], limits: NamedDependency[Limiter]) -> RenewedAnswer:
    """Hold a permit for another window; `renewed` is false where it is not held any more."""
    return RenewedAnswer(renewed=await limits.renew(data.policy, data.key, data.id))


@post("/release", status_code=200, responses=COMMON_RESPONSES)
async def release(data: JSONBody[PermitBody], limits: NamedDependency[Limiter]) -> ReleasedAnswer:
    """Give a permit back; `released` is false where it was not held any more."""
    return ReleasedAnswer(released=await limits.release(data.policy, data.key, data.id))


HANDLERS = [reserve, settle, lease, renew, release]
