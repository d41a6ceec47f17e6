"""How the OpenAPI document describes refusals and other problems of the limiter's verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from litestar.datastructures import ResponseHeader
from litestar.openapi import ResponseSpec

from tollhouse.asgi.ratelimit.refusal_response import QUOTA_EXCEEDED
from tollhouse.asgi.response import URN
from tollhouse.http.openapi import (
    STORE_DOWN,
    VIOLATED,
    FieldProblem,
    ProblemDetails,
    RefusedRequest,
    UnavailableProblem,
    members_of,
    problem_spec,
    problem_type,
    problems,
)
from tollhouse.limits.decision import Decision, TakeAllResult

RefusedTake: Final = problem_type(
    "RefusedTake", "A problem that also has the members of the decision.", *members_of(Decision), VIOLATED
)
RefusedTakeAll: Final = problem_type(
    "RefusedTakeAll",
    "A problem with the decisions of an all-or-nothing take that was refused; nothing was charged.",
    *members_of(TakeAllResult),
    VIOLATED,
)

_LIMIT_REACHED: Final = {
    "type": QUOTA_EXCEEDED,
    "title": "Quota Exceeded",
    "status": 429,
    "detail": "the limit 100/minute of policy api is reached; see Retry-After",
    "allowed": False,
    "policy": "api",
    "key": "customer-7",
    "cost": 1,
    "limits": [{"limit": 100, "window_ms": 60_000, "remaining": 0, "reset_after_ms": 63_750}],
    "retry_after_ms": 2_250,
    "refused_by": "100/minute",
    "degraded": False,
    "reason": "limit-reached",
    "leased": False,
    "violated-policies": ["api"],
}
_UNKNOWN_POLICY: Final = {
    "type": URN + "unknown-policy",
    "title": "Unknown Policy",
    "status": 422,
    "detail": "policy: 'appi': did you mean 'api'? Known are ai, api, default, …",
    "field": "policy",
    "value": "appi",
    "remedy": "did you mean 'api'? Known are ai, api, default, …",
}
COMMON_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    **problems(400, 401, 403, 429, 503),
    422: problem_spec(FieldProblem, "A value is out of bounds, or no policy has that name.", _UNKNOWN_POLICY),
}
"""Responses of every verb."""
TAKE_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    **COMMON_RESPONSES,
    403: problem_spec(
        ProblemDetails | RefusedTake, "The credentials do not allow this, or the key is on the policy's deny list."
    ),
    422: problem_spec(
        FieldProblem | RefusedTake,
        "A value is out of bounds, no policy has that name, or the cost is above the limit.",
        _UNKNOWN_POLICY,
    ),
    429: problem_spec(
        RefusedTake | RefusedRequest, "Refused; the decision names the limit and the time to wait.", _LIMIT_REACHED
    ),
    503: problem_spec(
        UnavailableProblem | RefusedTake, "The store does not answer, and the policy says to refuse then.", STORE_DOWN
    ),
}
"""Responses of verbs that take."""
TAKE_ALL_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    **COMMON_RESPONSES,
    403: problem_spec(ProblemDetails | RefusedTakeAll, TAKE_RESPONSES[403].description),
    503: problem_spec(UnavailableProblem | RefusedTakeAll, TAKE_RESPONSES[503].description),
    422: problem_spec(FieldProblem | RefusedTakeAll, TAKE_RESPONSES[422].description, _UNKNOWN_POLICY),
    429: problem_spec(
        RefusedTakeAll | RefusedRequest, "Refused, all or nothing: after `retry_after_ms` every take would be allowed."
    ),
}
"""Responses of `take-all`."""
RATE_LIMIT_FIELDS: Final = (
    ResponseHeader(name="RateLimit-Policy", documentation_only=True, description="Each limit with its quota."),
    ResponseHeader(name="RateLimit", documentation_only=True, description="Remaining units and reset of each limit."),
)
"""Headers of verbs that take, in the dialect of draft 11; the settings can choose another dialect."""
