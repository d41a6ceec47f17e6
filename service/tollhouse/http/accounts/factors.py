"""The account of the caller and its second factors over HTTP.

What changes a factor asks for a recent authentication (ASVS 5.0, 7.5.1), as RFC 9470 has it, and for the user: an
administrator who acts in the session changes none. What is secret is in the body, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.factors.outcomes import FactorRefused, FactorsChanged, RecoveryCodesMade
from tollhouse.http.authentication import Connection, check_role, current_session
from tollhouse.http.challenges import LoginRules, refuse_impersonation
from tollhouse.http.headers import DURABLE_FIELD, durable_header
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS, problem
from tollhouse.sessions.records import Session

_Switch = Literal["true", "false"]
END_OTHERS: Final = "Whether the other sessions of the user end, and logins that are not done yet."
_REFUSED: Final = {
    "present": (409, "factor-present", "one-time passwords are a factor already: remove them first"),
    "missing": (409, "factor-missing", "there are no one-time passwords: begin with POST /v1/account/totp"),
    "wrong-code": (422, "wrong-code", "the code is not one of the new seed now"),
}
"""What is told of refusals of one-time passwords: status, kind and detail."""


class FactorsBody(Struct, frozen=True, kw_only=True):
    """The factors that an account has now; `totp` is true once a code confirmed it."""

    password: bool
    totp: bool
    recovery_codes_left: int
    passkeys: int


class AccountBody(Struct, frozen=True, kw_only=True):
    """An account as its user sees it; `highest_level` is the level that a login with all these factors reaches."""

    user: str
    created_at: int
    password_changed_at: int | None
    factors: FactorsBody
    highest_level: str


class EnrolmentBody(Struct, frozen=True, kw_only=True):
    """A new seed: to type into an app, and as the URI of a QR code."""

    secret: str
    uri: str


class ConfirmBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code of the new seed, and whether the user's other sessions end."""

    code: str
    end_others: Annotated[bool, Meta(description=END_OTHERS)] = False


class NewCodesBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the user's other sessions end."""

    end_others: Annotated[bool, Meta(description=END_OTHERS)] = False


class CodesBody(Struct, frozen=True, kw_only=True):
    """New recovery codes, which are shown this once."""

    codes: tuple[str, ...]


@get("/", responses=problems(400, 401, 403, 404, 429, 503))
async def read_account(request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]) -> Response[Any]:
    """Return the caller's account: its factors, how many recovery codes are left, and the level that it can reach.

    The user of a session that an application began may have none: 404 `no-account`.
    """
    overview = await accounts.factors.overview(current_session(request).user)
    if overview is None:
        return no_account()
    factors = FactorsBody(
        password=overview.password,
        totp=overview.totp,
        recovery_codes_left=overview.recovery_codes_left,
        passkeys=overview.passkeys,
    )
    return Response(
        AccountBody(
            user=overview.user,
            created_at=overview.created_at,
            password_changed_at=overview.password_changed_at,
            factors=factors,
            highest_level=overview.highest_level,
        )
    )


@post("/totp", status_code=200, responses=problems(400, 401, 403, 404, 409, 429, 503), response_headers=[DURABLE_FIELD])
async def begin_totp(
    request: Request[Any, Any, Any], accounts: NamedDependency[Accounts], login_rules: NamedDependency[LoginRules]
) -> Response[Any]:
    """Make a seed for one-time passwords; nothing changes until a code of it is sent to `/v1/account/totp/confirm`.

    While one-time passwords are a factor of the account it is 409 `factor-present`: remove that one first.
    """
    result = await accounts.factors.begin_totp(recent_session(request, login_rules))
    if isinstance(result, FactorRefused):
        return factor_refusal(result, login_rules, _REFUSED)
    body = EnrolmentBody(secret=result.secret, uri=result.uri)
    return Response(body, headers=durable_header(durable=result.durable))


@post(
    "/totp/confirm",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def confirm_totp(
    request: Request[Any, Any, Any],
    data: JSONBody[ConfirmBody],
    accounts: NamedDependency[Accounts],
    login_rules: NamedDependency[LoginRules],
) -> Response[Any]:
    """Make one-time passwords a second factor, which every login takes from now on; with ten recovery codes.

    They are shown this once. A code that is not of the new seed is 422 `wrong-code`; the seed can still be confirmed.
    """
    session = recent_session(request, login_rules)
    result = await accounts.factors.confirm_totp(session, data.code, end_others=data.end_others)
    return _codes(result, login_rules)


@delete(
    "/totp",
    status_code=204,
    responses=problems(400, 401, 403, 404, 409, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"query": ("end_others",)},
)
async def remove_totp(
    request: Request[Any, Any, Any],
    accounts: NamedDependency[Accounts],
    login_rules: NamedDependency[LoginRules],
    end_others: Annotated[
        Literal["true", "false"], QueryParameter(name="end_others", description=END_OTHERS)
    ] = "false",
) -> Response[None]:
    """Remove one-time passwords and the recovery codes: no login asks for them any more. 409 if there are none."""
    session = recent_session(request, login_rules)
    result = await accounts.factors.remove_totp(session, end_others=end_others == "true")
    return factor_changed(result, login_rules, _REFUSED)


@post(
    "/recovery-codes",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409, 415, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def make_recovery_codes(
    request: Request[Any, Any, Any],
    data: JSONBody[NewCodesBody],
    accounts: NamedDependency[Accounts],
    login_rules: NamedDependency[LoginRules],
) -> Response[Any]:
    """Make ten recovery codes in place of the former ones; they are shown this once, and each is good once.

    They stand in for one-time passwords: without these it is 409 `factor-missing`.
    """
    session = recent_session(request, login_rules)
    result = await accounts.factors.new_recovery_codes(session, end_others=data.end_others)
    return _codes(result, login_rules)


def of_users(connection: Connection, _: BaseRouteHandler) -> None:
    """Refuse callers without a session, of whatever level: a first factor is how a user gets to a higher one."""
    check_role(connection, "session")


def recent_session(request: Request[Any, Any, Any], login_rules: LoginRules) -> Session:
    """Return the caller's session; raise if another user acts in it, or its user was authenticated too long ago."""
    session = current_session(request)
    refuse_impersonation(session, "changes the factors")
    login_rules.require_recent(session)
    return session


def _codes(result: RecoveryCodesMade | FactorRefused, login_rules: LoginRules) -> Response[Any]:
    if isinstance(result, FactorRefused):
        return factor_refusal(result, login_rules, _REFUSED)
    return Response(CodesBody(codes=result.codes), headers=durable_header(durable=result.durable))


def factor_changed(
    result: FactorsChanged | FactorRefused, login_rules: LoginRules, told: Mapping[str, tuple[int, str, str]]
) -> Response[None]:
    """Return 204, or a problem, which Litestar lets no route of that status declare."""
    if isinstance(result, FactorRefused):
        return cast("Response[None]", factor_refusal(result, login_rules, told))
    return Response(None, status_code=204, headers=durable_header(durable=result.durable))


def factor_refusal(
    refused: FactorRefused, login_rules: LoginRules, told: Mapping[str, tuple[int, str, str]]
) -> Response[Any]:
    """Return the problem of a refusal: `told` has the status, the kind and the detail of those of one factor."""
    if refused.reason == "no-account":
        return no_account()
    if refused.reason == "level":
        raise login_rules.below(refused.level)
    status, kind, detail = told[refused.reason]
    return problem(status, kind, kind.replace("-", " ").title(), detail)


def no_account() -> Response[Any]:
    """Return 404 for the user of a session that an application began."""
    detail = "the user of this session has no account here: the application has it"
    return problem(404, "no-account", "No Account", detail)


OF_USERS = [read_account, begin_totp, confirm_totp, remove_totp, make_recovery_codes]
