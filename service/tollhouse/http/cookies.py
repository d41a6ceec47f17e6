"""The session cookie: set on login, cleared on logout, never sent otherwise."""

from __future__ import annotations

from typing import Final

from litestar.datastructures import Cookie

from tollhouse.asgi.ratelimit.key_rules import COOKIE, DEVELOPMENT_COOKIE

NO_STORE: Final = {"Cache-Control": "no-store", "Vary": "Cookie"}
"""For every answer that sets or reads the cookie."""


def cookie_name(*, plain_http: bool) -> str:
    """Name the cookie: `__Host-` needs Secure, which plain HTTP cannot have."""
    return DEVELOPMENT_COOKIE if plain_http else COOKIE


def session_cookie(token: str, *, plain_http: bool) -> Cookie:
    """Make the cookie of a new session; it ends with the browser, since bearer secrets should not persist."""
    return Cookie(
        key=cookie_name(plain_http=plain_http),
        value=token,
        path="/",
        secure=not plain_http,
        httponly=True,
        samesite="lax",
    )


def cleared_cookie(*, plain_http: bool) -> Cookie:
    """Make the cookie that ends the other one."""
    return Cookie(
        key=cookie_name(plain_http=plain_http),
        value="",
        path="/",
        secure=not plain_http,
        httponly=True,
        samesite="lax",
        max_age=0,
    )
