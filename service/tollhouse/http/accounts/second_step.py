"""The second step of a login over HTTP: the ticket of the first, and a code.

The ticket proves that the password was right. It is in bodies alone: in no header, address or log.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.factors.codes import CodeFactor
from tollhouse.accounts.outcomes import SecondFactorDue, WrongCode
from tollhouse.asgi.credentials import session_token
from tollhouse.http.accounts.answers import DeviceTokenText, login_answer, presented_device
from tollhouse.http.authentication import current_caller
from tollhouse.http.challenges import challenge
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.sessions.sessions import Sessions


class CodeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ticket of a login whose password was right, a code, and how the token is returned."""

    ticket: Annotated[str, Meta(description="From the problem `second-factor`; good once, for five minutes.")]
    code: str
    transport: Literal["cookie", "bearer"] = "cookie"
    device_token: DeviceTokenText | None = None


@post(
    "/v1/login/totp",
    status_code=200,
    responses=problems(400, 401, 403, 409, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def log_in_by_totp(
    request: Request[Any, Any, Any],
    data: JSONBody[CodeBody],
    accounts: NamedDependency[Accounts],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Go on with a login that was answered with 401 `second-factor`, by the six digits that the user's app shows.

    A wrong or used code is 401 `wrong-code`, and five of them end the ticket. A ticket that opens nothing (any more) is
    401 `not-authenticated`: log in again. Else it answers as a login does, the cap included.
    """
    return await _log_in("totp", request, data, accounts, sessions, session_cookies)


@post(
    "/v1/login/recovery",
    status_code=200,
    responses=problems(400, 401, 403, 409, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def log_in_by_recovery_code(
    request: Request[Any, Any, Any],
    data: JSONBody[CodeBody],
    accounts: NamedDependency[Accounts],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Go on with a login that was answered with 401 `second-factor`, by a recovery code, which is spent then.

    It answers as `/v1/login/totp` does.
    """
    return await _log_in("recovery", request, data, accounts, sessions, session_cookies)


def second_factor_problem(due: SecondFactorDue) -> Response[Any]:
    """Return 401 with the ticket of a login whose password was right, and the factors that may follow."""
    members = {"ticket": due.ticket.reveal(), "expires_at": due.expires_at, "factors": due.factors}
    detail = "the password is right: send the ticket on to /v1/login/totp, /v1/login/recovery or /v1/login/passkey"
    return problem(401, "second-factor", "Second Factor", detail, members=members, headers=challenge(detail))


def wrong_code() -> Response[Any]:
    """Return 401 for a code that is wrong, or was used."""
    detail = "the code is wrong, or was used before"
    return problem(401, "wrong-code", "Wrong Code", detail, headers=challenge(detail))


async def _log_in(
    factor: CodeFactor,
    request: Request[Any, Any, Any],
    data: CodeBody,
    accounts: Accounts,
    sessions: Sessions,
    session_cookies: SessionCookies,
) -> Response[Any]:
    result = await accounts.login_by_code(
        data.ticket,
        factor,
        data.code,
        address=current_caller(request).address,
        device_token=presented_device(request, session_cookies, data.device_token),
        replaces=session_token(request.scope, session_cookies.name) or None,
    )
    if isinstance(result, WrongCode):
        return wrong_code()
    return await login_answer(request, result, sessions, session_cookies, data.transport)


HANDLERS = [log_in_by_totp, log_in_by_recovery_code]
