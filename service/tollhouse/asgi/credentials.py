"""Credentials of a request: the API key, the bearer token and the session cookie, read alike at every edge.

Values are read, not checked, and they are the exact bytes that were sent: nothing is decoded, unquoted or trimmed, so
that no other name becomes ours. What cannot be read, or was sent twice, gives the same result as what is missing: empty
text. A client that sends two of one credential leaves it to the reader which one counts, and readers disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

# Wider than the b64token of RFC 6750: API keys of the settings may have any visible characters.
_BEARER: Final = re.compile(r"bearer +([!-~]+)", re.IGNORECASE | re.ASCII)
_OWS: Final = b" \t"
"""The whitespace around a field value, which is no part of it (RFC 9110, 5.5)."""


def cookie_name(*, plain_http: bool) -> str:
    """Return the name of the session cookie under the settings.

    The prefix `__Host-` makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis, 4.1.3.2), which plain HTTP
    cannot have. Only one of the names counts: without Secure a cookie may be planted by whichever page shares the host.
    """
    return "tollhouse-dev" if plain_http else "__Host-tollhouse"


def actor_cookie_name(*, plain_http: bool) -> str:
    """Return the name of the cookie that keeps an administrator's own token while it acts as a user."""
    return f"{cookie_name(plain_http=plain_http)}-actor"


def device_cookie_name(*, plain_http: bool) -> str:
    """Return the name of the cookie by which a browser is a trusted device of its user."""
    return f"{cookie_name(plain_http=plain_http)}-device"


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization header; the scheme is case-insensitive (RFC 9110, 11.1)."""
    match = _BEARER.fullmatch(authorization)
    return match[1] if match else ""


def api_key(x_api_key: str, authorization: str) -> str:
    """Return the API key of X-Api-Key, or else the bearer token."""
    return x_api_key or bearer_token(authorization)


def api_key_of(scope: Mapping[str, Any]) -> str:
    """Return the API key of a request."""
    return api_key(_only_header(scope, b"x-api-key"), _only_header(scope, b"authorization"))


def session_token(scope: Mapping[str, Any], cookie: str) -> str:
    """Return the session token of a request: the bearer token, or without one the value of the cookie of that name.

    A client sends a bearer token on purpose, and a browser its cookies always. So a bearer token decides alone, even
    one that is no good: the cookie may be another user's.
    """
    return _bearer_token_of(scope) or session_cookie(scope, cookie)


def is_by_cookie(scope: Mapping[str, Any]) -> bool:
    """Return whether the session token of a request that has one is its cookie, and not a bearer token."""
    return not _bearer_token_of(scope)


def session_cookie(scope: Mapping[str, Any], name: str) -> str:
    """Return the value of the cookie of exactly this name; empty text if it was not sent, or more than once."""
    values = [value for given, value in _cookies(scope) if given == name]
    return values[0] if len(values) == 1 else ""


def is_passive(scope: Mapping[str, Any]) -> bool:
    """Return whether a request says that it is no use of its session (`X-Session-Passive: 1`), as a page that polls."""
    return _only_header(scope, b"x-session-passive") == "1"


def _bearer_token_of(scope: Mapping[str, Any]) -> str:
    return bearer_token(_only_header(scope, b"authorization"))


def _cookies(scope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Split every Cookie header at `;` and one space (RFC 6265, 4.2.1); HTTP/2 may send several (RFC 9113, 8.2.3).

    A pair without `=` is a value without a name, whatever it looks like (RFC 6265bis, 5.6).
    """
    for header, value in scope.get("headers", ()):
        if header.lower() == b"cookie":
            for pair in value.rstrip(_OWS).decode("latin-1").split(";"):
                name, equals, text = pair.removeprefix(" ").partition("=")
                if equals:
                    yield name, text


def _only_header(scope: Mapping[str, Any], name: bytes) -> str:
    """Return the value of a header, by its name in lower case; empty text if it was not sent, or more than once."""
    values = [value for given, value in scope.get("headers", ()) if given.lower() == name]
    return values[0].strip(_OWS).decode("latin-1") if len(values) == 1 else ""
