"""Sessions over HTTP for services: begin one for a user, and learn what a token opens (RFC 7662).

An application that logs users in itself, in any language, needs no more than these two. It does everything else with
the token that it got, as a bearer token, on the routes of users.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, assert_never
from urllib.parse import parse_qsl

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import JSONBody, RawBody
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from tollhouse.asgi.credentials import is_passive
from tollhouse.http.authentication import require_role
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.csrf import FORM
from tollhouse.http.headers import DURABLE_FIELD
from tollhouse.http.openapi import KEY, problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.http.sessions.bodies import token_response
from tollhouse.http.sessions.cap import cap_problem
from tollhouse.sessions.outcomes import CapReached, Issued, Rotation, SessionRefused
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.step_up import StepUpRefused
from tollhouse.suggest import one_of

_PARAMETERS: Final = ("token", "token_type_hint", "csrf_token")
_PLAIN: Final = re.compile(r"[a-z_]{1,32}")
_FIELDS_MAX: Final = 8


@dataclass
class FormOperation(Operation):
    """Describes the form of an introspection in the OpenAPI document: its handler reads the body by itself."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        form = Schema(type=OpenAPIType.OBJECT, required=["token"], properties=dict.fromkeys(_PARAMETERS, text))
        self.request_body = RequestBody(required=True, content={FORM: OpenAPIMediaType(schema=form)})


class BeginBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user whom the service has authenticated, and the session to begin."""

    user: str
    policy: Annotated[str, Meta(description="The policy of the session by its name.")] = "default"
    device: Annotated[str | None, Meta(description="A label for the list of devices, at most 120 characters.")] = None
    acr: Annotated[str | None, Meta(description="The level that the login reached, such as `aal2`.")] = None
    amr: Annotated[tuple[str, ...], Meta(description="The methods of the login (RFC 8176), such as `pwd`.")] = ()
    data: Annotated[dict[str, Any] | None, Meta(description="The values that the session begins with.")] = None
    replaces: Annotated[str | None, Meta(description="The token of the request that logged in; it is ended.")] = None
    carry: Annotated[
        bool, Meta(description="Whether the data of a visitor's session, if that is `replaces`, stays.")
    ] = False


class VisitorBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be kept for a visitor who has not logged in."""

    data: Annotated[dict[str, Any], Meta(description="The values that the session begins with; one at least.")]
    policy: Annotated[str, Meta(description="The policy of the session by its name.")] = "anonymous"
    device: Annotated[str | None, Meta(description="A label, at most 120 characters.")] = None


class StepUpBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session whose user the service has authenticated anew, and how."""

    token: Annotated[str, Meta(description="The token of the session.")]
    acr: Annotated[str | None, Meta(description="The level that was reached; it replaces the one of before.")] = None
    amr: Annotated[tuple[str, ...], Meta(description="The methods (RFC 8176); they replace those of before.")] = ()


class Actor(Struct, frozen=True, kw_only=True):
    """An administrator who acts as the user, and the session of theirs."""

    sub: str
    sid: str


class IntrospectionAnswer(Struct, frozen=True, kw_only=True):
    """Whether a token opens a session, and which (RFC 7662, 2.2); times are whole seconds since 1970.

    At `exp` the session ends however it is used, at `idle_exp` if it is not used until then. `auth_time`, `acr` and
    `amr` tell of the last authentication (RFC 9470, 6.2), `act` who acts as the user (RFC 8693, 4.1). A
    session that is `anonymous` is a visitor's, who has not logged in.
    """

    active: bool
    sub: str | UnsetType = UNSET
    sid: str | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    idle_exp: int | UnsetType = UNSET
    auth_time: int | UnsetType = UNSET
    acr: str | UnsetType = UNSET
    amr: tuple[str, ...] | UnsetType = UNSET
    act: Actor | UnsetType = UNSET
    policy: str | UnsetType = UNSET
    device: str | UnsetType = UNSET
    renewal_due: bool | UnsetType = UNSET
    anonymous: bool | UnsetType = UNSET
    csrf_token_valid: bool | UnsetType = UNSET


_INACTIVE: Final = IntrospectionAnswer(active=False)


@post(
    "/",
    status_code=201,
    guards=[require_role("service")],
    security=KEY,
    responses=problems(400, 401, 403, 409, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def begin_session(
    data: JSONBody[BeginBody], sessions: NamedDependency[Sessions], session_cookies: NamedDependency[SessionCookies]
) -> Response[Any]:
    """Begin a session of a user, always under a new token; 409 if the user is disabled, or the policy's cap refuses.

    Send the token that the browser had as `replaces`, so that its former session ends, also another user's.
    """
    issued = await sessions.create(
        data.user,
        policy=data.policy,
        device=data.device,
        replaces=data.replaces,
        acr=data.acr,
        amr=data.amr,
        data=data.data,
        carry=data.carry,
    )
    match issued:
        case Issued():
            return token_response(issued, session_cookies, by_cookie=False, status_code=201)
        case CapReached():
            return cap_problem(issued)
        case SessionRefused():
            detail = "the user is disabled" if issued.reason == "disabled" else "end another session of the user first"
            return problem(409, "session-refused", "Session Refused", detail, members={"reason": issued.reason})
        case _:
            assert_never(issued)


@post(
    "/anonymous",
    status_code=201,
    guards=[require_role("service")],
    security=KEY,
    responses=problems(400, 401, 403, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def begin_visit(
    data: JSONBody[VisitorBody], sessions: NamedDependency[Sessions], session_cookies: NamedDependency[SessionCookies]
) -> Response[Any]:
    """Begin the session of a visitor who has not logged in, once there is something to keep.

    It opens what a session opens: look at `anonymous`. A login that has its token ends it; with `carry` the data stays.
    """
    issued = await sessions.create_anonymous(data.data, policy=data.policy, device=data.device)
    return token_response(issued, session_cookies, by_cookie=False, status_code=201)


@post(
    "/step-up",
    status_code=200,
    guards=[require_role("service")],
    security=KEY,
    responses=problems(400, 401, 403, 409, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def step_up(
    data: JSONBody[StepUpBody], sessions: NamedDependency[Sessions], session_cookies: NamedDependency[SessionCookies]
) -> Response[Any]:
    """Note that the user of a session was authenticated anew; 409 if the token opens none, or another user acts in it.

    The session gets another token, its times begin anew, and one that was locked opens. Level and methods are those of
    this authentication: name an earlier factor too if it counts.
    """
    stepped = await sessions.step_up(data.token, acr=data.acr, amr=data.amr)
    match stepped:
        case Rotation():
            return token_response(stepped, session_cookies, by_cookie=False)
        case StepUpRefused():
            over = "the token opens no session and no locked one"
            detail = over if stepped.reason == "over" else "another user acts in this session"
            return problem(409, "step-up-refused", "Step-Up Refused", detail, members={"reason": stepped.reason})
        case _:
            assert_never(stepped)


@post(
    "/introspect",
    status_code=200,
    responses=problems(400, 401, 403, 413, 415, 429, 503),
    operation_class=FormOperation,
    opt={"media_type": FORM},
)
async def introspect(
    request: Request[Any, Any, Any], body: RawBody, sessions: NamedDependency[Sessions]
) -> Response[IntrospectionAnswer]:
    """Return what the `token` of a form opens: `{"active": false}` if it is no live session, whatever else it is.

    It counts as a use of the session, as a request of its user would; with `X-Session-Passive: 1` it does not. With a
    `csrf_token` the answer says whether that is one of the session. `token_type_hint` makes no difference.
    """
    form = _form(body)
    session = await sessions.verify(form["token"], passive=is_passive(request.scope))
    if session is None:
        return Response(_INACTIVE)
    answer, csrf_token = _answer(session), form.get("csrf_token")
    if csrf_token is not None:
        answer = replace(answer, csrf_token_valid=sessions.is_csrf_token(session, csrf_token))
    return Response(answer)


def _answer(session: Session) -> IntrospectionAnswer:
    acting = session.impersonation
    return IntrospectionAnswer(
        active=True,
        sub=session.user,
        sid=session.sid,
        iat=session.created_at // 1000,
        exp=session.expires_at // 1000,
        idle_exp=session.idle_expires_at // 1000,
        auth_time=session.authenticated_at // 1000 if session.authenticated else UNSET,
        acr=session.acr or UNSET,
        amr=session.amr or UNSET,
        act=UNSET if acting is None else Actor(sub=acting.actor, sid=acting.actor_sid),
        policy=session.policy,
        device=session.device or UNSET,
        renewal_due=session.renewal_due or UNSET,
        anonymous=session.anonymous or UNSET,
    )


def _form(body: bytes) -> dict[str, str]:
    """Return the parameters of a form; raise ValidationException for one that is unknown, missing or comes twice."""
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(
            text, strict_parsing=True, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX
        )
    except ValueError as error:
        raise _wrong("body", "send a form: token=...") from error
    form = dict(pairs)
    for name in form:
        if name not in _PARAMETERS:
            raise _wrong(name if _PLAIN.fullmatch(name) else "body", one_of(name, _PARAMETERS))
    if len(form) < len(pairs):
        raise _wrong("body", "name each parameter once")
    if not form.get("token"):
        raise _wrong("token", "send the token of a session")
    return form


def _wrong(field: str, remedy: str) -> ValidationException:
    return ValidationException(extra=[{"message": remedy, "key": field}])
