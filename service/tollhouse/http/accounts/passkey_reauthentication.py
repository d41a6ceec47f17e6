"""Authentication of the user of a session that exists, by a passkey: POST /v1/session/reauth/passkey.

As by the password it works for a session that is locked, and no limit refuses it, for nothing can be guessed.
"""

from __future__ import annotations

from typing import Any, assert_never

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyConfirmed, PasskeyRefused
from tollhouse.http.accounts.answers import (
    CredentialJson,
    no_passkey,
    options_response,
    passkey_refused,
    step_up_error,
)
from tollhouse.http.authentication import current_caller, no_session
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS
from tollhouse.http.sessions.bodies import token_response
from tollhouse.sessions.verbs.step_up import StepUpRefused


class PasskeyConfirmationBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer of the browser."""

    credential: CredentialJson


@post(
    "/session/reauth/passkey/options",
    status_code=200,
    responses=problems(400, 401, 403, 404, 429, 503),
    opt={"rate_limit": False},
)
async def ask_for_own_passkey(request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]) -> Response[Any]:
    """Return what a page gives `navigator.credentials.get`, for a passkey of the session's user; also of a locked one.

    It is 404 `no-passkey` if the account has none.
    """
    caller = current_caller(request)
    session = caller.session or caller.locked
    if session is None:
        raise no_session()
    result = await accounts.passkeys.step_up_options(session)
    match result:
        case PasskeyOptions():
            return options_response(result)
        case PasskeyRefused():
            return no_passkey()
        case StepUpRefused():
            raise step_up_error(result)
        case _:
            assert_never(result)


@post(
    "/session/reauth/passkey",
    status_code=200,
    responses=problems(400, 401, 403, 404, 415, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt={"rate_limit": False, **UNIQUE_MEMBERS},
)
async def reauthenticate_by_passkey(
    request: Request[Any, Any, Any],
    data: JSONBody[PasskeyConfirmationBody],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Authenticate the user of the session by a passkey, also of a locked one, which opens again, at the second level.

    The session gets another token, as by `/v1/session/reauth`. An answer that is wrong, or for another session, changes
    nothing: 401 `passkey-refused`.
    """
    caller = current_caller(request)
    if caller.token is None:
        raise no_session()
    result = await accounts.passkeys.step_up(caller.token, data.credential)
    match result:
        case PasskeyConfirmed():
            return token_response(result.rotation, session_cookies, by_cookie=caller.by_cookie)
        case PasskeyRefused():
            return passkey_refused()
        case StepUpRefused():
            raise step_up_error(result)
        case _:
            assert_never(result)
