"""How the user of a session was authenticated: when, at which level, by which methods, and on whose behalf.

A record stores it as one text: the time in ms, the level, the methods, and who impersonates the user, if any does.
`acr` and `amr` are the claims of OpenID Connect Core, 2: the level that the login reached ("aal1" of NIST SP 800-63B,
or a URI), and its methods (RFC 8176: "pwd", "otp", "hwk", ...).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput, require_type

METHODS_MAX: Final = 8
"""The most authentication methods of a session."""

_UNKNOWN: Final = "-"
_LOGINS_MAX: Final = 1_000
"""How many logins are kept decoded: those of most sessions are alike but for their time, and every verify reads one."""
_LEVEL: Final = re.compile(r"(?!-\Z)[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # NQCHAR of RFC 6749, Appendix A
_METHOD: Final = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]{0,31}")


class Impersonation(Struct, frozen=True, kw_only=True):
    """Who acts as the user of a session: an administrator, in which session of theirs, and why."""

    actor: str
    actor_sid: str
    reason: str


class LoginContext(Struct, frozen=True, kw_only=True):
    """The level and methods of an authentication, and the impersonation that it began; None and empty if unknown."""

    acr: str | None = None
    amr: tuple[str, ...] = ()
    impersonation: Impersonation | None = None


UNKNOWN_LOGIN: Final = LoginContext()


def valid_login(acr: str | None, amr: Sequence[str]) -> LoginContext:
    """Return a login with these claims; raises InvalidInput for a text that no claim can be."""
    if acr is not None:
        require_type("acr", acr, str, "give the level as text, such as 'aal2'")
        if _LEVEL.fullmatch(acr) is None:
            raise InvalidInput("acr", acr, "use 1 to 128 visible ASCII characters but quotes and backslashes")
    if isinstance(amr, str) or not isinstance(amr, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise InvalidInput("amr", type(amr).__name__, "give a list of methods, such as ['pwd', 'otp']")
    methods = tuple(amr)
    if len(methods) > METHODS_MAX:
        raise InvalidInput("amr", len(methods), f"give at most {METHODS_MAX} methods")
    for method in methods:
        require_type("amr", method, str, "give each method as text, such as 'pwd'")
        if _METHOD.fullmatch(method) is None:
            raise InvalidInput("amr", method, "use 1 to 32 of a-z, A-Z, 0-9, '_', '.', ':' and '-'")
    return LoginContext(acr=acr, amr=methods)


def login_text(login: LoginContext) -> str:
    """Return what a record stores of a login, behind its time."""
    acting = "" if login.impersonation is None else msgspec.json.encode(login.impersonation).decode()
    return f"{login.acr or _UNKNOWN} {','.join(login.amr) or _UNKNOWN} {acting}"


def read_login(text: str) -> tuple[int, LoginContext]:
    """Return the time in ms and the login of what a record stores."""
    at_ms, _, login = text.partition(" ")
    return int(at_ms), _read_login(login)


@lru_cache(maxsize=_LOGINS_MAX)
def _read_login(text: str) -> LoginContext:
    acr, amr, acting = text.split(" ", 2)
    return LoginContext(
        acr=None if acr == _UNKNOWN else acr,
        amr=() if amr == _UNKNOWN else tuple(amr.split(",")),
        impersonation=msgspec.json.decode(acting, type=Impersonation) if acting else None,
    )
