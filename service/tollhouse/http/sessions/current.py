"""The caller's session over HTTP: look at it, give it another token, and make a token for a form.

A client that was identified by its cookie gets a new token in its cookie, and one that sent a bearer token in the body.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from msgspec import Struct

from tollhouse.http.authentication import current_caller, current_session, current_token, no_session
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.sessions.bodies import SessionBody, TokenAnswer, session_body, token_response
from tollhouse.sessions.sessions import Sessions

_PROBLEMS: Final = problems(400, 401, 403, 429, 503)


class CsrfTokenBody(Struct, frozen=True, kw_only=True):
    """A token for a form of the caller's session."""

    csrf_token: str


@get("/session", responses=_PROBLEMS)
async def get_session(request: Request[Any, Any, Any]) -> Response[SessionBody]:
    """Return the caller's session, or 401."""
    return Response(session_body(current_session(request)))


@post("/session/rotate", status_code=200, responses=_PROBLEMS, response_headers=[DURABLE_FIELD])
async def rotate(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[TokenAnswer]:
    """Replace the token of the caller's session, as when its rights change: the former opens nothing from then on.

    A client that does not get the answer has to log in again.
    """
    rotation = await sessions.rotate(current_token(request))
    if rotation is None:
        raise no_session()
    return token_response(rotation, session_cookies, by_cookie=current_caller(request).by_cookie)


@post("/session/renew", status_code=200, responses=_PROBLEMS, response_headers=[DURABLE_FIELD])
async def renew(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[TokenAnswer]:
    """Return the token that the client is to hold: the one it has, or its successor if `renewal_due`.

    The former stays good until the successor was used, and 30 s longer, so a lost answer does no harm. Browsers need
    not ask: any response to a request with the cookie renews it.
    """
    token, caller = current_token(request), current_caller(request)
    rotation = await sessions.renew(token)
    if rotation is None:
        raise no_session()
    if caller.by_cookie and rotation.token == token:
        body = TokenAnswer(session=session_body(rotation.session), durable=rotation.durable)
        return Response(body, headers=durable_header(durable=rotation.durable))
    return token_response(rotation, session_cookies, by_cookie=caller.by_cookie)


@get("/session/csrf-token", responses=_PROBLEMS)
async def get_csrf_token(
    request: Request[Any, Any, Any], sessions: NamedDependency[Sessions]
) -> Response[CsrfTokenBody]:
    """Return a token that a form of the application sends back: only pages of this session can have it."""
    return Response(CsrfTokenBody(csrf_token=sessions.csrf_token(current_session(request))))


HANDLERS = [get_session, rotate, renew, get_csrf_token]
