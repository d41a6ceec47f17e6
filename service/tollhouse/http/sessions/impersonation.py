"""Impersonation over HTTP: an administrator acts as a user in a session of its own, and goes back to its own.

A browser has one session cookie. So while the impersonation has it, a second cookie keeps the administrator's token,
which the browser must have shown when the impersonation began. It opens nothing until it is moved back.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, assert_never

from litestar import Request, Response, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from msgspec.structs import replace

from tollhouse.accounts.throttling.devices import DeviceToken
from tollhouse.asgi.credentials import is_by_cookie, session_cookie, session_token
from tollhouse.errors import InvalidInput, Steps
from tollhouse.http.authentication import current_caller, no_session
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import CLEAR_SITE_DATA, DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.http.sessions.administration import user_of_path
from tollhouse.http.sessions.bodies import TokenAnswer, session_body, token_response
from tollhouse.sessions import tokens
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.impersonator import ImpersonationEnded, ImpersonationRefused

_NO_WAY_BACK: Final = ResponseSpec(None, generate_examples=False, description="It is over, and leads to no session.")
_REMEDIES: Final = {
    "actor-over": "the administrator has no such live session: log in",
    "nested": "the administrator's session is an impersonation itself: name the administrator's own",
    "disabled": "the user is disabled: enable the user first",
    "at-cap": "the user, or the administrator's session, has as many impersonations as may be: stop one first",
    "not-presented": "send the administrator's own session cookie with the request, or ask for transport `bearer`",
    "another-session": "the browser has another live session: end it, or stop its impersonation first",
}


class ImpersonateBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who acts as the user, from which live session, and why; and how the token is returned."""

    actor: Annotated[str, Meta(description="The administrator's user id.")]
    actor_sid: Annotated[str, Meta(description="The `sid` of the administrator's session.")]
    reason: Annotated[str, Meta(description="Shown to the user and in the events; at most 200 characters.")]
    transport: Literal["cookie", "bearer"] = "cookie"


class StopBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The administrator's own token, from a client that keeps it without a cookie."""

    actor_token: str | None = None


class KeptEnd(Struct, frozen=True, kw_only=True):
    """What became of the session that a browser kept: the cookies to clear, and whether its end is durable."""

    cookies: tuple[Cookie, ...] = ()
    durable: bool = True


@post(
    "/{uid:str}/impersonate",
    status_code=201,
    responses=problems(400, 401, 403, 409, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def impersonate(
    request: Request[Any, Any, Any],
    uid: FromPath[str],
    data: JSONBody[ImpersonateBody],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Begin a session in which an administrator acts as the user; 409 with a `reason` if that is refused.

    Into a cookie only for the browser of the administrator: the request must have the cookie of `actor_sid`, which is
    kept in a second one, and no other live session.
    """
    user, by_cookie = user_of_path(request, uid), data.transport == "cookie"
    kept = await _cookie_to_keep(request, data, sessions, session_cookies) if by_cookie else []
    if isinstance(kept, str):
        return _refusal(kept)
    result = await sessions.impersonate(user, actor=data.actor, actor_sid=data.actor_sid, reason=data.reason)
    match result:
        case Issued():
            return token_response(result, session_cookies, by_cookie=by_cookie, status_code=201, others=kept)
        case ImpersonationRefused():
            return _refusal(result.reason)
        case _:
            assert_never(result)


@post(
    "/session/stop-impersonating",
    status_code=200,
    responses={204: _NO_WAY_BACK, **problems(400, 401, 403, 409, 415, 422, 429, 503)},
    response_headers=[DURABLE_FIELD],
    opt={"rate_limit": False, **UNIQUE_MEMBERS},
)
async def stop_impersonating(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
    data: JSONBody[StopBody | None] = None,
) -> Response[Any]:
    """End the impersonation of the request's token, and go back to the session that began it: 200 with that session.

    204 if the administrator's token, from its cookie or `actor_token`, does not open that session (any more). It says
    so again for an impersonation that is over, for 24 hours. 409 for any other session, which lives on.
    """
    token, by_cookie = _token(request, session_cookies), is_by_cookie(request.scope)
    actor_token = None if data is None else data.actor_token
    if by_cookie:
        if actor_token is not None:
            raise InvalidInput("actor_token", "…", "leave it out: the browser sends its cookie")
        actor_token = session_cookie(request.scope, session_cookies.actor_name)
    ended = await sessions.stop_impersonating(token, actor_token or None)
    if ended is None:
        detail = "the token is of no impersonation, or of one that ended more than 24 hours ago: log in"
        return problem(409, "not-impersonating", "Not Impersonating", detail)
    return _way_back(ended, _cookies_back(ended, actor_token, session_cookies) if by_cookie else [])


async def login_response(
    request: Request[Any, Any, Any],
    issued: Issued,
    device: DeviceToken,
    sessions: Sessions,
    cookies: SessionCookies,
    *,
    by_cookie: bool,
) -> Response[TokenAnswer]:
    """Return the session of a login, whose client is a trusted device from now on.

    The session that its browser kept during an impersonation is ended.
    """
    kept = await end_kept(request, sessions, cookies)
    both = replace(issued, durable=issued.durable and kept.durable)
    others = [*kept.cookies, *([cookies.trusting(device)] if by_cookie else [])]
    return token_response(both, cookies, by_cookie=by_cookie, others=others, device=device)


async def end_kept(request: Request[Any, Any, Any], sessions: Sessions, cookies: SessionCookies) -> KeptEnd:
    """End the session that a browser keeps during an impersonation, behind another step of the request.

    A bearer token decides alone, so beside one the cookie stays as it is.
    """
    text = session_cookie(request.scope, cookies.actor_name) if is_by_cookie(request.scope) else ""
    if not text:
        return KeptEnd()
    with Steps() as steps:
        steps.begun = True
        kept = await sessions.verify(text, passive=True, locked=True)
        durable = kept is None or (await sessions.revoke(kept.user, kept.sid, cause="logged-out")).durable
    return KeptEnd(cookies=(cookies.actor_cleared(),), durable=durable)


async def _cookie_to_keep(
    request: Request[Any, Any, Any], data: ImpersonateBody, sessions: Sessions, cookies: SessionCookies
) -> list[Cookie] | str:
    """Return the cookie that keeps the token of the administrator's session, or the reason why none can be.

    A cookie of another live session refuses it: that session would have no owner.
    """
    kept: list[Cookie] = []
    for name in (cookies.actor_name, cookies.name):
        token = tokens.parse(session_cookie(request.scope, name))
        session = None if token is None else await sessions.verify(token, locked=True)
        if token is None or session is None:
            continue
        if (session.user, session.sid) != (data.actor, data.actor_sid):
            return "another-session"
        kept.append(cookies.keeping(token, session))
    return kept[-1:] or "not-presented"


def _refusal(reason: str) -> Response[Any]:
    title, members = "Impersonation Refused", {"reason": reason}
    return problem(409, "impersonation-refused", title, _REMEDIES[reason], members=members)


def _token(request: Request[Any, Any, Any], cookies: SessionCookies) -> Token | str:
    """Return the token of the request, also of a session that is over; 401 for an API key, and for none."""
    caller = current_caller(request)
    text = session_token(request.scope, cookies.name)
    if not text or (caller.roles and caller.session is None):
        raise no_session()
    return caller.token or text


def _cookies_back(ended: ImpersonationEnded, actor_token: str | None, cookies: SessionCookies) -> list[Cookie]:
    """Return the cookies that give a browser its own session back, or leave it none."""
    token = tokens.parse(actor_token or "")
    if ended.session is None or token is None:
        return [cookies.cleared(), cookies.actor_cleared()]
    return [cookies.holding(token, ended.session), cookies.actor_cleared()]


def _way_back(ended: ImpersonationEnded, cookies: list[Cookie]) -> Response[Any]:
    """Return the session that began an impersonation; a browser also drops what it stored and cached as the user."""
    headers = {**CLEAR_SITE_DATA, **durable_header(durable=ended.durable)}
    if ended.session is None:
        return Response(None, status_code=204, cookies=cookies, headers=headers)
    body = TokenAnswer(session=session_body(ended.session), durable=ended.durable)
    return Response(body, cookies=cookies, headers=headers)
