"""Authentication of the user of a session that exists, by the password: POST /v1/session/reauth.

It works for a session that is locked, which no other route of users does. So the route takes callers without a live
session, and decides by the token. It comes before the end of other sessions, so no limit refuses it but the failures
of the session itself.
"""

from __future__ import annotations

from typing import Any, assert_never

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Struct, UnsetType

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.outcomes import (
    AttemptThrottled,
    CodeDue,
    PasswordConfirmed,
    PasswordDue,
    WrongCode,
    WrongCredentials,
)
from tollhouse.http.accounts.answers import step_up_error, throttled, wrong_password
from tollhouse.http.accounts.second_step import wrong_code
from tollhouse.http.authentication import current_caller, no_session
from tollhouse.http.challenges import challenge
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.http.sessions.bodies import token_response
from tollhouse.sessions.verbs.step_up import StepUpRefused


class ReauthenticationBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password of the session's user, and if one-time passwords are a second factor the code of now."""

    password: str | UnsetType = UNSET
    code: str | UnsetType = UNSET


@post(
    "/session/reauth",
    status_code=200,
    responses=problems(400, 401, 403, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"rate_limit": False, **UNIQUE_MEMBERS},
)
async def reauthenticate(
    request: Request[Any, Any, Any],
    data: JSONBody[ReauthenticationBody],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Authenticate the user of the session by the password, also of a locked one, which opens again.

    The session gets another token, and its idle time and its lifetime begin anew. A wrong password changes nothing: it
    is 401 of the type `wrong-password`, and counts as a failure of the session; `wrong-code` likewise.
    If one-time passwords are a second factor it takes a code, too, else it is 401 `second-factor`. The code alone is
    enough in an open session whose user gave the password lately; if not, it is 401 `password-required`.
    """
    caller = current_caller(request)
    if caller.token is None:
        raise no_session()
    result = await accounts.reauthenticate(
        caller.token, _given(data.password), address=caller.address, code=_given(data.code)
    )
    if isinstance(result, PasswordConfirmed):
        return token_response(result.rotation, session_cookies, by_cookie=caller.by_cookie)
    if isinstance(result, AttemptThrottled):
        return throttled(result)
    return _refusal(result)


def _refusal(refused: WrongCredentials | WrongCode | CodeDue | PasswordDue | StepUpRefused) -> Response[Any]:
    match refused:
        case WrongCredentials():
            return wrong_password()
        case WrongCode():
            return wrong_code()
        case CodeDue():
            detail = "the password is right: send it once more, with a code"
            members = {"factors": refused.factors}
            return problem(401, "second-factor", "Second Factor", detail, members=members, headers=challenge(detail))
        case PasswordDue():
            detail = "send the password, too: a code alone is enough only soon after it, in an open session"
            return problem(401, "password-required", "Password Required", detail, headers=challenge(detail))
        case StepUpRefused():
            raise step_up_error(refused)
        case _:
            assert_never(refused)


def _given(member: str | UnsetType) -> str | None:
    return None if isinstance(member, UnsetType) else member
