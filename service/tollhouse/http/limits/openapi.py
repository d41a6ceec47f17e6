"""How the OpenAPI document describes refusals and other problems of the limiter's verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar.datastructures import ResponseHeader
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Struct, defstruct, field
from msgspec.structs import fields

from tollhouse.asgi.ratelimit.refusal_response import QUOTA_EXCEEDED
from tollhouse.asgi.response import PROBLEM_JSON, TEMPORARY_REDUCED_CAPACITY, URN
from tollhouse.limits.decision import Decision, TakeAllResult


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """The members of every problem (RFC 9457); `type` is stable, `title` and `detail` are for people."""

    type: str
    title: str
    status: int
    detail: str


def _members_of(struct: type[Struct]) -> list[tuple[str, Any]]:
    return [(member.name, member.type) for member in fields(struct)]


def _problem(name: str, meaning: str, *members: tuple[str, Any] | tuple[str, Any, Any]) -> type[Struct]:
    """Return the type of a problem that has more members."""
    every = [*_members_of(ProblemDetails), *members]
    return defstruct(name, every, namespace={"__doc__": meaning}, module=__name__, frozen=True, kw_only=True)


_VIOLATED: Final = ("violated_policies", list[str], field(name="violated-policies"))
FieldProblem: Final = _problem(
    "FieldProblem",
    "A problem with one field of the request; `value` repeats it if it could be read.",
    *(("field", str), ("remedy", str), ("value", Any, None)),
)
RefusedTake: Final = _problem(
    "RefusedTake", "A problem that also has the members of the decision.", *_members_of(Decision), _VIOLATED
)
RefusedTakeAll: Final = _problem(
    "RefusedTakeAll",
    "A problem with the decisions of an all-or-nothing take that was refused; nothing was charged.",
    *_members_of(TakeAllResult),
    _VIOLATED,
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
    "violated-policies": ["api"],
}
_UNKNOWN_POLICY: Final = {
    "type": URN + "unknown-policy",
    "title": "Unknown Policy",
    "status": 422,
    "detail": "policy: 'appi': did you mean 'api'? Known are ai, api, default, login, login-address, session, signup",
    "field": "policy",
    "value": "appi",
    "remedy": "did you mean 'api'? Known are ai, api, default, login, login-address, session, signup",
}
_INVALID_BODY: Final = {
    "type": URN + "invalid-request",
    "title": "Invalid Request",
    "status": 400,
    "detail": "key: Object missing required field `key`",
    "field": "key",
    "remedy": "Object missing required field `key`",
}
_NOT_AUTHENTICATED: Final = {
    "type": URN + "not-authenticated",
    "title": "Not Authenticated",
    "status": 401,
    "detail": "send a service key as `Authorization: Bearer` or `X-Api-Key`",
}
_STORE_DOWN: Final = {
    "type": TEMPORARY_REDUCED_CAPACITY,
    "title": "Temporary Reduced Capacity",
    "status": 503,
    "detail": "a store does not answer; nothing was decided, and the request may be sent again",
}


def _response(described: Any, description: str, *examples: Mapping[str, object]) -> ResponseSpec:
    return ResponseSpec(
        described,
        generate_examples=False,
        description=description,
        media_type=PROBLEM_JSON,
        examples=[Example(value=dict(example)) for example in examples],
    )


COMMON_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    400: _response(FieldProblem, "The body cannot be decoded, or has another shape.", _INVALID_BODY),
    401: _response(ProblemDetails, "No key, or an unknown one.", _NOT_AUTHENTICATED),
    403: _response(ProblemDetails, "The credentials do not allow this."),
    422: _response(FieldProblem, "A value is out of bounds, or no policy has that name.", _UNKNOWN_POLICY),
    503: _response(ProblemDetails, "The store does not answer.", _STORE_DOWN),
}
"""Responses of every verb."""
TAKE_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    **COMMON_RESPONSES,
    403: _response(
        ProblemDetails | RefusedTake, "The credentials do not allow this, or the key is on the policy's deny list."
    ),
    422: _response(
        FieldProblem | RefusedTake,
        "A value is out of bounds, no policy has that name, or the cost is above the limit.",
        _UNKNOWN_POLICY,
    ),
    429: _response(RefusedTake, "Refused; the decision names the limit and the time to wait.", _LIMIT_REACHED),
    503: _response(
        ProblemDetails | RefusedTake, "The store does not answer, and the policy says to refuse then.", _STORE_DOWN
    ),
}
"""Responses of verbs that take."""
TAKE_ALL_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    **COMMON_RESPONSES,
    **{status: _response(ProblemDetails | RefusedTakeAll, TAKE_RESPONSES[status].description) for status in (403, 503)},
    422: _response(FieldProblem | RefusedTakeAll, TAKE_RESPONSES[422].description, _UNKNOWN_POLICY),
    429: _response(RefusedTakeAll, "Refused, all or nothing: after `retry_after_ms` every take would be allowed."),
}
"""Responses of `take-all`."""
RATE_LIMIT_FIELDS: Final = (
    ResponseHeader(name="RateLimit-Policy", documentation_only=True, description="Each limit with its quota."),
    ResponseHeader(name="RateLimit", documentation_only=True, description="Remaining units and reset of each limit."),
)
"""Headers of verbs that take, in the dialect of draft 11; the settings can choose another dialect."""
