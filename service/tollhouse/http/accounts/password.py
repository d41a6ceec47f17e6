"""Passwords over HTTP: the change by a user, and the reset of one that was forgotten.

A token for a reset is made for a service, which mails it. The answer is the same for a name without an account, whose
token opens nothing: so the service needs no care to hide who has an account, but for the mail.
"""

from __future__ import annotations

from typing import Any, assert_never

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.outcomes import AttemptThrottled, LevelDue, PasswordChanged, ResetRefused, WrongCredentials
from tollhouse.http.accounts.answers import step_up_error, throttled, wrong_password
from tollhouse.http.authentication import current_caller, current_token, no_session, require_role
from tollhouse.http.challenges import LoginRules
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import KEY, SESSION, problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.http.sessions.bodies import token_response
from tollhouse.sessions.verbs.step_up import StepUpRefused


class PasswordChangeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The former password, the new one, and whether the other sessions of the user end."""

    password: str
    new_password: str
    end_others: bool = True


class ResetTokenBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name of who forgot the password."""

    user: str


class PasswordResetBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name, the token that was mailed, and the new password."""

    user: str
    token: str
    password: str


@post(
    "/v1/password",
    status_code=200,
    guards=[require_role("session")],
    responses=problems(400, 401, 403, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"auth": True, **UNIQUE_MEMBERS},
    security=SESSION,
)
async def change_password(
    request: Request[Any, Any, Any],
    data: JSONBody[PasswordChangeBody],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
    login_rules: NamedDependency[LoginRules],
) -> Response[Any]:
    """Change the password of the session's user: the session gets another token, and the others end.

    A wrong password is 401 `wrong-password`, and counts as a login with a wrong password does. A new one that is easy
    to guess is 422 `weak-password`. With `end_others` false the other sessions live on. If a login takes a second
    factor, a session that has shown none in the last day is 401 `insufficient-user-authentication`.
    """
    caller = current_caller(request)
    result = await accounts.change_password(
        current_token(request), data.password, data.new_password, address=caller.address, end_others=data.end_others
    )
    match result:
        case PasswordChanged(rotation=None):
            raise no_session()
        case PasswordChanged(rotation=rotation):
            assert rotation is not None
            return token_response(rotation, session_cookies, by_cookie=caller.by_cookie)
        case WrongCredentials():
            return wrong_password()
        case LevelDue():
            raise login_rules.below(result.level)
        case AttemptThrottled():
            return throttled(result)
        case StepUpRefused():
            raise step_up_error(result)
        case _:
            assert_never(result)


@post(
    "/v1/accounts/reset-token",
    status_code=200,
    guards=[require_role("service")],
    responses=problems(400, 401, 403, 415, 422, 429, 503),
    opt={"auth": True, **UNIQUE_MEMBERS},
    security=KEY,
)
async def make_reset_token(data: JSONBody[ResetTokenBody], accounts: NamedDependency[Accounts]) -> Response[Any]:
    """Make a token that allows a new password once, for a service to mail to the user; also for an unknown name."""
    made = await accounts.issue_reset_token(data.user)
    return Response({"token": made.token, "expires_at": made.expires_at})


@post(
    "/v1/password/reset",
    status_code=200,
    responses=problems(400, 403, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={**UNIQUE_MEMBERS},
)
async def reset_password(data: JSONBody[PasswordResetBody], accounts: NamedDependency[Accounts]) -> Response[Any]:
    """Set a new password for an account by a mailed token: all its sessions end, and none begins; the user logs in.

    A token that is wrong, too old or used, or of another name, is 403 `wrong-reset-token`.
    """
    result = await accounts.reset_password(data.user, data.token, data.password)
    match result:
        case PasswordChanged():
            body = {"user": result.user, "removed": result.removed}
            return Response(body, headers=durable_header(durable=result.durable))
        case ResetRefused():
            detail = "the token is none of this user, too old, or used: ask for another mail"
            return problem(403, "wrong-reset-token", "Wrong Reset Token", detail)
        case _:
            assert_never(result)


HANDLERS = [change_password, make_reset_token, reset_password]
