"""The end of accounts over HTTP, and of lost factors: by users, and by administrators."""

from __future__ import annotations

from typing import Any, assert_never

from litestar import Request, Response, delete, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.factors.outcomes import FactorsRemoved
from tollhouse.accounts.outcomes import (
    AccountDeleted,
    AccountStatus,
    AttemptThrottled,
    LevelDue,
    NoAccount,
    WrongCredentials,
)
from tollhouse.http.accounts.answers import step_up_error, throttled, wrong_password
from tollhouse.http.authentication import current_caller, current_token, require_role
from tollhouse.http.challenges import LoginRules
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import CLEAR_SITE_DATA, DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS
from tollhouse.http.sessions.administration import user_of_path
from tollhouse.sessions.verbs.step_up import StepUpRefused


class DeletionBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password of who deletes the own account."""

    password: str


@delete(
    "/",
    status_code=200,
    guards=[require_role("session")],
    responses=problems(400, 401, 403, 404, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"rate_limit": False, **UNIQUE_MEMBERS},
)
async def delete_own_account(
    request: Request[Any, Any, Any],
    data: JSONBody[DeletionBody],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
    login_rules: NamedDependency[LoginRules],
) -> Response[Any]:
    """Delete the account of the session's user, and end all its sessions; it takes the password.

    A wrong one is 401 `wrong-password`, and counts as a login with a wrong password does. If a login takes a second
    factor, a session that has shown none in the last day is 401 `insufficient-user-authentication`.
    """
    caller = current_caller(request)
    result = await accounts.delete_own(current_token(request), data.password, address=caller.address)
    match result:
        case AccountDeleted():
            headers = {**CLEAR_SITE_DATA, **durable_header(durable=result.durable)}
            body = {"user": result.user, "removed": result.removed}
            return Response(body, cookies=[session_cookies.cleared()], headers=headers)
        case NoAccount():
            raise NotFoundException
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


@get("/{uid:str}/account", responses=problems(400, 401, 403, 404, 422, 429, 503))
async def show_account(
    request: Request[Any, Any, Any], uid: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[AccountStatus]:
    """Show an account, without anything that opens it; 404 if the user has none."""
    status = await accounts.status(user_of_path(request, uid))
    if status is None:
        raise NotFoundException
    return Response(status)


@delete(
    "/{uid:str}/account",
    status_code=204,
    responses=problems(400, 401, 403, 404, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
)
async def delete_account_of_user(
    request: Request[Any, Any, Any], uid: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[None]:
    """Delete an account and end all sessions of its user; 404 if the user has none."""
    result = await accounts.delete_account(user_of_path(request, uid))
    if isinstance(result, NoAccount):
        raise NotFoundException
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


@delete(
    "/{uid:str}/factors",
    status_code=200,
    responses=problems(400, 401, 403, 404, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
)
async def remove_factors_of_user(
    request: Request[Any, Any, Any], uid: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[FactorsRemoved]:
    """Remove all second factors of a user who has lost them, and end all sessions; 404 if the user has no account.

    Who asks for it has to have proven their identity to you: from then on the password alone opens the account.
    """
    result = await accounts.remove_factors(user_of_path(request, uid))
    if isinstance(result, NoAccount):
        raise NotFoundException
    return Response(result, headers=durable_header(durable=result.durable))


OF_USERS = [delete_own_account]
FOR_ADMINISTRATORS = [show_account, delete_account_of_user, remove_factors_of_user]
