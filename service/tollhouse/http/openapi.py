"""How the OpenAPI document describes credentials, and the problems that a route of any resource may answer with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Components, Example, SecurityRequirement, SecurityScheme
from msgspec import UNSET, Struct, UnsetType, defstruct, field
from msgspec.structs import fields

from tollhouse.asgi.credentials import cookie_name
from tollhouse.asgi.response import PROBLEM_JSON, TEMPORARY_REDUCED_CAPACITY, URN
from tollhouse.errors import Outcome
from tollhouse.limits.decision import Decision


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """The members of every problem (RFC 9457); `type` is stable, `title` and `detail` are for people."""

    type: str
    title: str
    status: int
    detail: str


def members_of(struct: type[Struct], *, without: str = "") -> list[tuple[str, Any]]:
    """Return the names and types of a type's members."""
    return [(member.name, member.type) for member in fields(struct) if member.name != without]


def problem_type(name: str, meaning: str, *members: tuple[str, Any] | tuple[str, Any, Any]) -> type[Struct]:
    """Return the type of a problem that has more members."""
    every = [*members_of(ProblemDetails), *members]
    return defstruct(name, every, namespace={"__doc__": meaning}, module=__name__, frozen=True, kw_only=True)


def problem_spec(described: Any, description: str, *examples: Mapping[str, object]) -> ResponseSpec:
    """Return the description of a response that is a problem."""
    return ResponseSpec(
        described,
        generate_examples=False,
        description=description,
        media_type=PROBLEM_JSON,
        examples=[Example(value=dict(example)) for example in examples],
    )


VIOLATED: Final = ("violated_policies", list[str], field(name="violated-policies"))
FieldProblem: Final = problem_type(
    "FieldProblem",
    "A problem with one field of the request; `value` repeats it if it could be read.",
    *(("field", str), ("remedy", str), ("value", Any, None)),
)
UnavailableProblem: Final = problem_type(
    "UnavailableProblem",
    "A problem of the service. `outcome` is what became of the request: not-sent and rejected changed nothing, "
    "ambiguous may have been done, or a part of it. A request that was not begun for lack of room has none.",
    ("outcome", Outcome | UnsetType, UNSET),
)
RefusedRequest: Final = problem_type(
    "RefusedRequest",
    "A problem with the decision that refused the request itself; it does not name the key.",
    *members_of(Decision, without="key"),
    VIOLATED,
)

VersionProblem: Final = problem_type(
    "VersionProblem", "A problem with the version of the data; null if it is not known.", ("version", int | None)
)
TooLargeProblem: Final = problem_type(
    "TooLargeProblem", "A problem with its bounds: bytes and number.", ("bytes_max", int), ("values_max", int)
)

InsufficientProblem: Final = problem_type(
    "InsufficientProblem",
    "A problem with the last authentication of the session: it is to be at one of these levels, if any are named, "
    "and at most so many seconds ago, if that is a number.",
    ("acr_values", list[str]),
    ("max_age_s", int | None),
)

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
    "detail": "send a valid service key as `Authorization: Bearer` or `X-Api-Key`",
}
STORE_DOWN: Final = {
    "type": TEMPORARY_REDUCED_CAPACITY,
    "title": "Temporary Reduced Capacity",
    "status": 503,
    "detail": "a store does not answer; nothing was changed, and the request may be sent again",
    "outcome": "not-sent",
}
_PROBLEMS: Final[Mapping[int, ResponseSpec]] = {
    400: problem_spec(
        FieldProblem | ProblemDetails, "The request cannot be decoded, or has another shape.", _INVALID_BODY
    ),
    401: problem_spec(
        InsufficientProblem | ProblemDetails,
        "No credentials, or unknown ones; or the user of the session is to authenticate again (RFC 9470).",
        _NOT_AUTHENTICATED,
    ),
    403: problem_spec(ProblemDetails, "The credentials do not allow this, or another site made a browser send it."),
    404: problem_spec(ProblemDetails, "There is no such resource."),
    409: problem_spec(ProblemDetails, "It contradicts what there is; nothing was changed."),
    412: problem_spec(
        VersionProblem, "The data has another version than `If-Match` names, which `version` and `ETag` tell."
    ),
    413: problem_spec(
        ProblemDetails | TooLargeProblem, "The body, or the data after the change, is too large; nothing was changed."
    ),
    415: problem_spec(ProblemDetails, "The body has another media type than the route takes."),
    422: problem_spec(FieldProblem, "A value is out of bounds, or has no such name."),
    429: problem_spec(
        RefusedRequest, "The caller is limited, or its address sent too many wrong keys; see Retry-After."
    ),
    502: problem_spec(ProblemDetails, "The model failed; nothing was cached."),
    504: problem_spec(ProblemDetails, "The model took too long, or nothing is stored and only that was wanted."),
    503: problem_spec(
        UnavailableProblem, "A store does not answer, or too much is waiting; see Retry-After.", STORE_DOWN
    ),
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the descriptions of the problems that a route answers with."""
    return {status: _PROBLEMS[status] for status in statuses}


KEY: Final[list[SecurityRequirement]] = [{"key": []}, {"bearer": []}]
"""Credentials of routes for services and administrators."""
SESSION: Final[list[SecurityRequirement]] = [{"session": []}, {"bearer": []}]
"""Credentials of routes for users."""


def security_schemes(*, plain_http: bool) -> Components:
    """Return the descriptions of all credentials."""
    return Components(
        security_schemes={
            "key": SecurityScheme(
                type="apiKey", security_scheme_in="header", name="X-Api-Key", description="A service or admin key."
            ),
            "bearer": SecurityScheme(
                type="http", scheme="bearer", description="A service or admin key, or the token of a session."
            ),
            "session": SecurityScheme(
                type="apiKey",
                security_scheme_in="cookie",
                name=cookie_name(plain_http=plain_http),
                description="The cookie of a session, which a login sets. A bearer token beside it decides alone.",
            ),
        }
    )
