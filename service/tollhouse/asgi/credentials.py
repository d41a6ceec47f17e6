"""Credentials of a request: the API key, the bearer token and the session cookie, read alike at every edge.

Values are read, not checked. A header that cannot be read gives the same result as one that is missing: empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

COOKIE: Final = "__Host-tollhouse"
"""The session cookie: the prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis)."""
DEVELOPMENT_COOKIE: Final = "tollhouse-dev"
"""The session cookie without Secure, on loopback only."""

# Wider than the b64token of RFC 6750: API keys of the settings may have any visible characters.
_BEARER: Final = re.compile(r"bearer +([!-~]+)", re.IGNORECASE | re.ASCII)


def bearer_token(authorization: str | None) -> str:
    """Return the token of an Authorization header; the scheme is case-insensitive (RFC 9110, 11.1)."""
    match = _BEARER.fullmatch(authorization.strip(" \t")) if authorization else None
    return match[1] if match else ""


def api_key(x_api_key: str | None, authorization: str | None) -> str:
    """Return the API key of X-Api-Key, or else the bearer token."""
    return x_api_key or bearer_token(authorization)


def session_cookie(scope: Mapping[str, Any], *names: str) -> str:
    """Return the value of the first of these cookies that was sent; of cookies with one name the first counts.

    A client sends the cookie of the longer path first (RFC 6265, 5.4). Quotes around a value are removed.
    """
    cookies: dict[str, str] = {}
    for name, value in _cookies(scope):
        cookies.setdefault(name, value)
    return next((cookies[name] for name in names if name in cookies), "")


def _cookies(scope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Split every Cookie header: HTTP/2 may send several (RFC 9113, 8.2.3)."""
    for name, value in scope.get("headers", ()):
        if name.lower() == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                cookie, _, text = pair.strip().partition("=")
                yield cookie, text.strip('"')
