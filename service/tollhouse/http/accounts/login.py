"""Logins and logouts over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.params import JSONBody
from msgspec import Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.outcomes import SecondFactorDue, WrongCredentials
from tollhouse.asgi.credentials import session_token
from tollhouse.http.accounts.answers import DeviceTokenText, device_name, login_answer, presented_device
from tollhouse.http.accounts.second_step import second_factor_problem
from tollhouse.http.authentication import check_role, current_caller
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import CLEAR_SITE_DATA, DURABLE_FIELD, durable_header
from tollhouse.http.openapi import SESSION, problems
from tollhouse.http.problems import UNIQUE_MEMBERS
from tollhouse.http.sessions.impersonation import end_kept
from tollhouse.sessions.sessions import Sessions


class LoginBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Credentials, and whether the token is returned in a cookie or in the body.

    With `remember` the session has the policy `remember`, so a browser keeps its cookie after it was closed.
    With `carry` it begins with the data of the visitor's session that the request has. A client without cookies sends
    the `device_token` of its last login: no guess of others refuses the device.
    """

    user: str
    password: str
    transport: Literal["cookie", "bearer"] = "cookie"
    remember: bool = False
    carry: bool = False
    device_token: DeviceTokenText | None = None


@post(
    "/v1/login",
    status_code=200,
    responses=problems(400, 401, 403, 409, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def login(
    request: Request[Any, Any, Any],
    data: JSONBody[LoginBody],
    accounts: NamedDependency[Accounts],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Log in, always with a new session and token; 401 is the same for a wrong user name and a wrong password.

    The device is trusted from now on, by its cookie or by `device_token` in the body.
    The session whose token the request has is ended by it. At the cap of a policy that asks it is 409 `session-cap`,
    with what `POST /v1/login/cap` needs to go on. If the account takes a second factor, a right password is answered
    with 401 `second-factor`, and a `ticket` for `/v1/login/totp`, `/v1/login/recovery` or `/v1/login/passkey`.
    """
    result = await accounts.login(
        data.user,
        data.password,
        address=current_caller(request).address,
        device=device_name(request),
        device_token=presented_device(request, session_cookies, data.device_token),
        policy="remember" if data.remember else "default",
        replaces=session_token(request.scope, session_cookies.name) or None,
        carry=data.carry,
    )
    match result:
        case SecondFactorDue():
            return second_factor_problem(result)
        case WrongCredentials():
            raise NotAuthorizedException("user name and password do not match")
        case _:
            return await login_answer(request, result, sessions, session_cookies, data.transport)


@post(
    "/v1/logout",
    status_code=204,
    responses=problems(400, 401, 403, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"auth": True},
    security=SESSION,
)
async def logout(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[None]:
    """Revoke the caller's session: no request that starts after the response succeeds with its token.

    A browser also drops what it has stored and cached of this origin. The token of a session that is over is 204 too,
    and its cookie is cleared: what was asked for is so (RFC 7009, 2.2).
    In an impersonation the session that began it is ended too, if the browser keeps its cookie.
    Without a token it is 401, because a client that sends its token in the wrong place is not logged out.
    """
    caller = current_caller(request)
    if not caller.session_is_over:
        check_role(request, "session")
    durable = False  # what ended the session before may not be
    if (session := caller.session or caller.locked) is not None:
        ended = await sessions.revoke(session.user, session.sid, cause="logged-out")
        durable = ended.durable
    kept = await end_kept(request, sessions, session_cookies)
    headers = {**CLEAR_SITE_DATA, **durable_header(durable=durable and kept.durable)}
    return Response(None, status_code=204, cookies=[session_cookies.cleared(), *kept.cookies], headers=headers)


HANDLERS = [login, logout]
