"""Logins by passkey over HTTP, alone or as the second step: options for the browser, and then its answer.

Options keep nothing, and are the same for every visitor. An answer is good once; it is in bodies alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, assert_never

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tollhouse.accounts.accounts import Accounts
from tollhouse.accounts.outcomes import TicketRefused
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyRefused
from tollhouse.asgi.credentials import session_token
from tollhouse.http.accounts.answers import (
    CredentialJson,
    DeviceTokenText,
    device_name,
    login_answer,
    no_passkey,
    options_response,
    passkey_refused,
    presented_device,
    ticket_refused,
)
from tollhouse.http.cookies import SessionCookies
from tollhouse.http.headers import DURABLE_FIELD
from tollhouse.http.openapi import problems
from tollhouse.http.problems import UNIQUE_MEMBERS
from tollhouse.sessions.sessions import Sessions

_Ticket = Annotated[
    str | None, Meta(description="From the problem `second-factor`, if the passkey is to follow a password.")
]


class PasskeyRequestBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing for a login by passkey alone, else the ticket of a login whose password was right."""

    ticket: _Ticket = None


class PasskeyLoginBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer of the browser, and the rest as `/v1/login` has it; with a ticket its request says what to carry."""

    credential: CredentialJson
    ticket: _Ticket = None
    transport: Literal["cookie", "bearer"] = "cookie"
    remember: bool = False
    carry: bool = False
    device_token: DeviceTokenText | None = None


@post(
    "/v1/login/passkey/options",
    status_code=200,
    responses=problems(400, 401, 403, 404, 422, 429, 503),
    opt=UNIQUE_MEMBERS,
)
async def ask_for_passkey(data: JSONBody[PasskeyRequestBody], accounts: NamedDependency[Accounts]) -> Response[Any]:
    """Return what a page gives `navigator.credentials.get`: `{"publicKey"}`, for `parseRequestOptionsFromJSON`.

    With a ticket it asks for a passkey of its user, and is 404 `no-passkey` if there is none; a ticket that opens
    nothing (any more) is 401 `not-authenticated`. 404 `passkeys-off` without the setting `accounts.passkeys.rp_id`.
    """
    if data.ticket is None:
        return options_response(accounts.passkeys.login_options())
    result = await accounts.passkeys.second_step_options(data.ticket)
    match result:
        case PasskeyOptions():
            return options_response(result)
        case PasskeyRefused():
            return no_passkey()
        case TicketRefused():
            raise ticket_refused()
        case _:
            assert_never(result)


@post(
    "/v1/login/passkey",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409, 422, 429, 503),
    response_headers=[DURABLE_FIELD],
    opt=UNIQUE_MEMBERS,
)
async def log_in_by_passkey(
    request: Request[Any, Any, Any],
    data: JSONBody[PasskeyLoginBody],
    accounts: NamedDependency[Accounts],
    sessions: NamedDependency[Sessions],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[Any]:
    """Log in by a passkey, which names its account, or go on with a login that was answered with 401 `second-factor`.

    `credential` is what `PublicKeyCredential.toJSON()` returned. Whatever is wrong with it, it is 401
    `passkey-refused`: ask for new options. Else it answers as a login does, the cap included.
    """
    device_token = presented_device(request, session_cookies, data.device_token)
    replaces = session_token(request.scope, session_cookies.name) or None
    if data.ticket is None:
        result = await accounts.passkeys.login(
            data.credential,
            device=device_name(request),
            device_token=device_token,
            policy="remember" if data.remember else "default",
            replaces=replaces,
            carry=data.carry,
        )
    else:
        given = (data.ticket, data.credential)
        result = await accounts.passkeys.second_step(*given, device_token=device_token, replaces=replaces)
    if isinstance(result, PasskeyRefused):
        return passkey_refused()
    return await login_answer(request, result, sessions, session_cookies, data.transport)


HANDLERS = [ask_for_passkey, log_in_by_passkey]
