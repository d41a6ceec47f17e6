"""The session cookie: set on login, cleared on logout, in no other response."""

from __future__ import annotations

from litestar.datastructures import Cookie

from tollhouse.asgi.credentials import cookie_name


def session_cookie(token: str | None, *, plain_http: bool) -> Cookie:
    """Return the cookie of a new session, or with None the one that makes the browser delete it.

    It has no lifetime, so the browser also deletes it when it closes: no bearer secret persists.
    """
    return Cookie(
        key=cookie_name(plain_http=plain_http),
        value=token or "",
        path="/",
        secure=not plain_http,
        httponly=True,
        samesite="lax",
        max_age=0 if token is None else None,
    )
