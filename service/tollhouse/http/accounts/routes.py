"""All routes of accounts."""

from __future__ import annotations

from typing import Final

from litestar import Router

from tollhouse.http.accounts import closing, factors, login, passkey_login, passkeys, password, second_step, sign_up
from tollhouse.http.openapi import SESSION

OWN_ACCOUNT: Final = Router(
    "/v1/account",
    route_handlers=[*factors.OF_USERS, *passkeys.OF_USERS, *closing.OF_USERS],
    guards=[factors.of_users],
    opt={"auth": True, "rate_limit": "session"},
    security=SESSION,
)

HANDLERS = [
    *sign_up.HANDLERS,
    *login.HANDLERS,
    *second_step.HANDLERS,
    *passkey_login.HANDLERS,
    *password.HANDLERS,
    OWN_ACCOUNT,
]
