"""Logins at the cap over HTTP: what the user may end, and the login that goes on with the choice.

The ticket proves a login whose password was right, so only with it the user's sessions are listed here. It is in bodies
alone: in no header, address or log.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, assert_never

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.asgi.credentials import session_cookie, session_token
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.http.sessions.bodies import device_bodies
from tollhouse.http.sessions.impersonation import login_response
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.sessions import Sessions


class ResumeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ticket of a login at the cap, the sessions to end for it, and how the token is returned."""

    ticket: Annotated[str, Meta(description="From the problem `session-cap`; good once, for five minutes.")]
    end: Annotated[tuple[str, ...], Meta(description="The `sid` of each session to end.")] = ()
    transport: Literal["cookie", "bearer"] = "cookie"


@post(
    "/v1/login/cap",
    status_code=200,
    responses=problems(400, 401, 403, 409, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def resume_login(
    request: Request[Any, Any, Any],
    data: JSONBody[ResumeBody],
    accounts: NamedDependency[Accounts],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Go on with a login that was answered with 409 `session-cap`: end sessions, and begin the new one, in one step.

    401 if the ticket opens nothing (any more): log in again. Else a refusal ends nothing, and the ticket stays good.
    The session whose token the request has is ended, as by a login.
    """
    presented = session_token(request.scope, session_cookies.name) or None
    result = await sessions.resume(data.ticket, end=data.end, replaces=presented)
    match result:
        case Issued():
            by_cookie = data.transport == "cookie"
            shown = session_cookie(request.scope, session_cookies.device_name) if by_cookie else None
            device = accounts.trust_device(result.session, shown or None)
            return await login_response(request, result, device, sessions, session_cookies, by_cookie=by_cookie)
        case CapReached():
            return cap_problem(result)
        case SessionRefused():
            raise NotAuthorizedException("the ticket is not good any more; log in again")
        case _:
            assert_never(result)


def cap_problem(reached: CapReached) -> Response[Any]:
    """Return 409 with the ticket of a login and the sessions that its user may end."""
    members = {
        "ticket": reached.ticket.reveal(),
        "expires_at": reached.expires_at,
        "ends": reached.ends,
        **device_bodies(reached.sessions),
    }
    detail = f"end {reached.ends} or more of these sessions: send their sids with the ticket to /v1/login/cap"
    headers = durable_header(durable=reached.durable)
    return problem(409, "session-cap", "Session Cap", detail, members=members, headers=headers)


HANDLERS = [resume_login]
