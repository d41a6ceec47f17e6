"""Session policies: idle and absolute timeouts, and the cap on a user's sessions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from tollhouse.errors import ConfigurationError
from tollhouse.settings.model import Settings
from tollhouse.settings.sessions import SessionPolicySettings

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

IDLE_MS_MIN: Final = 1_000
LIFETIME_MS_MAX: Final = 400 * _DAY_MS
"""The longest lifetime of a session, because browsers keep no cookie for longer."""

RENEW_MS_MIN: Final = _MINUTE_MS
"""The shortest life of a secret: longer than the grace of its predecessor, so that no request is two secrets behind."""

CAP_MAX: Final = 1_000
"""The highest cap that a policy may set."""

OnIdle = Literal["end", "lock"]
"""What becomes of a session that was idle for too long: it ends, or it locks until a step-up or its absolute end."""
CookieLifetime = Literal["session", "persistent"]
"""Whether the browser forgets the cookie when it closes, or keeps it until the session's end."""
SameSite = Literal["lax", "strict"]
"""The requests of other sites that a browser sends the cookie with: top-level navigations, or none."""

AtCap = Literal["evict-oldest", "refuse", "ask"]
"""What a login does at the cap: end the session of the user that would expire first, refuse, or ask what to end."""


class SessionPolicy(Struct, frozen=True, kw_only=True):
    """The idle timeout and absolute lifetime of a session, and how many sessions a user may have at a time.

    With `on_idle="lock"` a session that was idle for too long keeps its data, and a step-up opens it again.

    `cookie` and `same_site` are attributes of the cookie that carries its token (RFC 6265bis, 4.1.2).

    With `renew_ms` a session says, so long after its secret was presented first, that its client is to get another one
    (`Sessions.renew`).
    """

    idle_ms: int
    absolute_ms: int
    cap: int = 20
    at_cap: AtCap = "evict-oldest"
    renew_ms: int | None = None
    on_idle: OnIdle = "end"
    cookie: CookieLifetime = "session"
    same_site: SameSite = "lax"

    def __post_init__(self) -> None:
        if not IDLE_MS_MIN <= self.idle_ms <= self.absolute_ms <= LIFETIME_MS_MAX:
            given = f"idle_ms={self.idle_ms}, absolute_ms={self.absolute_ms}"
            remedy = f"use {IDLE_MS_MIN} <= idle_ms <= absolute_ms <= {LIFETIME_MS_MAX}"
            raise ConfigurationError("session policy", given, remedy)
        if self.renew_ms is not None and not RENEW_MS_MIN <= self.renew_ms <= LIFETIME_MS_MAX:
            given, remedy = f"renew_ms={self.renew_ms}", f"use {RENEW_MS_MIN} to {LIFETIME_MS_MAX}, or None"
            raise ConfigurationError("session policy", given, remedy)
        if not 1 <= self.cap <= CAP_MAX:
            raise ConfigurationError("session policy", f"cap={self.cap}", f"use a cap of 1 to {CAP_MAX}")


Policies = Mapping[str, SessionPolicy]

POLICIES: Final[Policies] = MappingProxyType(
    {
        "default": SessionPolicy(idle_ms=_HOUR_MS, absolute_ms=24 * _HOUR_MS),
        "remember": SessionPolicy(idle_ms=14 * _DAY_MS, absolute_ms=90 * _DAY_MS, cookie="persistent"),
        "admin": SessionPolicy(idle_ms=15 * _MINUTE_MS, absolute_ms=12 * _HOUR_MS, same_site="strict"),
        "anonymous": SessionPolicy(idle_ms=30 * _MINUTE_MS, absolute_ms=24 * _HOUR_MS),
        "impersonation": SessionPolicy(
            idle_ms=15 * _MINUTE_MS, absolute_ms=_HOUR_MS, cap=5, at_cap="refuse", same_site="strict"
        ),
    }
)
"""The default policies: NIST's AAL2, a remembered browser, NIST's AAL3, a visitor who has not logged in, and an
administrator who acts as a user: of an impersonation the timeouts, the cap and `same_site` count.

The levels are of NIST SP 800-63B-4, 2.2.3 and 2.3.3. `remember` is longer than it recommends for AAL2."""


def policies_from_settings(settings: Settings) -> Policies:
    """Return the policies in force: the built-in ones, and those of the settings, which replace them by name.

    Raises ConfigurationError for one that cannot be. A session keeps the times of the policy that it began with.
    """
    chosen = {name: _policy(name, fields) for name, fields in settings.sessions.policies.items()}
    return MappingProxyType({**POLICIES, **chosen})


def _policy(name: str, fields: SessionPolicySettings) -> SessionPolicy:
    setting = f"sessions.policies.{name}"
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(setting, name, "name it with a-z, A-Z, 0-9, '_', '.' and '-', 64 at most")
    try:
        return SessionPolicy(**asdict(fields))
    except ConfigurationError as error:
        raise ConfigurationError(setting, error.value, error.remedy) from error
