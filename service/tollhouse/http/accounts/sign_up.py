"""Sign-ups over HTTP, which a setting turns off for all but services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.outcomes import AccountCreated, NameTaken, TooManyAttempts
from tollhouse.asgi.credentials import api_key_of
from tollhouse.http.accounts.answers import limited
from tollhouse.http.authentication import current_caller
from tollhouse.http.limits.responses import TakeResponses
from tollhouse.http.openapi import KEY, problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.settings.accounts import AccountSettings


class SignUpBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user name and its password."""

    user: str
    password: str


def _has_key(scope: Mapping[str, Any]) -> bool:
    return bool(api_key_of(scope))


@post(
    "/v1/accounts",
    responses=problems(400, 401, 403, 409, 422, 429, 503),
    opt={"auth": _has_key, **UNIQUE_MEMBERS},
    security=[{}, *KEY],
)
async def sign_up(
    request: Request[Any, Any, Any],
    data: JSONBody[SignUpBody],
    accounts: NamedDependency[Accounts],
    account_settings: NamedDependency[AccountSettings],
    responses: NamedDependency[TakeResponses],
) -> Response[Any]:
    """Create an account: 201, or 409 if the user name is taken.

    If the setting `accounts.sign_up` is off, it takes a service key, without which it is 403 `sign-up-closed`.
    """
    caller = current_caller(request)
    if not account_settings.sign_up and caller.roles.isdisjoint(("service", "admin")):
        return problem(403, "sign-up-closed", "Sign-up Closed", "accounts are created with a service key here")
    result = await accounts.sign_up(data.user, data.password, address=caller.address)
    match result:
        case AccountCreated():
            return Response({"user": result.user}, status_code=201)
        case NameTaken():
            return problem(409, "name-taken", "Name Taken", "this user name has an account already")
        case TooManyAttempts():
            return limited(responses, result.decision)
        case _:
            assert_never(result)


HANDLERS = [sign_up]
