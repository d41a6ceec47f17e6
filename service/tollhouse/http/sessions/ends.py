"""Ends of sessions over HTTP: why the caller's is over, and the end of all sessions of all users."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, NotAuthorizedException
from msgspec import Struct

from tollhouse.asgi.credentials import session_token
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.explainer import EndReason

_NO_END: Final = "this session is not over, or has ended more than 24 hours ago, or the token is not its last one"


class EndBody(Struct, frozen=True, kw_only=True):
    """Why a session is over, and since when."""

    reason: EndReason
    at: int


@get("/session/why", responses=problems(400, 401, 403, 404, 429, 503))
async def why(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[EndBody]:
    """Return why the session of the request's token is over, for 24 hours after its end.

    404 if it is not over, if it ended longer ago, or if the token is not its last one.
    """
    token = session_token(request.scope, session_cookies.name)
    if not token:
        raise NotAuthorizedException("send the session's cookie, or its token as `Authorization: Bearer`")
    end = await sessions.why(token)
    if end is None:
        raise HTTPException(_NO_END, status_code=404)
    return Response(EndBody(reason=end.reason, at=end.at))


@post(
    "/logout-everyone",
    status_code=204,
    responses=problems(400, 401, 403, 429, 503),
    response_headers=[DURABLE_FIELD],
)
async def logout_everyone(sessions: NamedDependency[Sessions]) -> Response[None]:
    """End every session of every user; later logins live. After a 503 it may be done in part: send it again."""
    result = await sessions.revoke_everyone()
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))
