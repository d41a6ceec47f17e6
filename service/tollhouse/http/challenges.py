"""Challenges: the last authentication of a session is not enough for a route, so its user is asked again (RFC 9470).

Every route of users asks for the level of the settings. Those that end other sessions ask for an authentication that is
recent, too (ASVS 7.5.2). The client authenticates its user again and sends the request once more with the new token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from litestar.exceptions import NotAuthorizedException, PermissionDeniedException

from tollhouse.sessions.levels import AUTHENTICATION_MS, satisfies
from tollhouse.sessions.records import Session
from tollhouse.settings import Settings
from tollhouse.settings.sessions import SessionSettings
from tollhouse.wiring import wall_clock

_ERROR: Final = "insufficient_user_authentication"
_AGAIN: Final = "authenticate again (POST /v1/session/reauth): it was too long ago"


class InsufficientAuthentication(NotAuthorizedException):
    """The session lives, and its user is to authenticate: at one of these levels, so recently, or both."""

    def __init__(self, detail: str, *, acr_values: Sequence[str] = (), max_age_s: int | None = None) -> None:
        self.members: Mapping[str, object] = {"acr_values": list(acr_values), "max_age_s": max_age_s}
        acr = f', acr_values="{" ".join(acr_values)}"' if acr_values else ""
        age = "" if max_age_s is None else f', max_age="{max_age_s}"'
        super().__init__(detail, headers=challenge(detail, acr + age))


class Impersonated(PermissionDeniedException):
    """Another user acts in the session, who may not do this for its user."""


def refuse_impersonation(session: Session, act: str = "ends the other sessions") -> None:
    """Raise Impersonated for a session in which another user acts; `act` is what only its own user does."""
    if session.impersonation is not None:
        raise Impersonated(f"another user acts in this session: only its user {act}")


def challenge(detail: str, parameters: str = "") -> dict[str, str]:
    """Return the header that asks the user of a session to authenticate (RFC 9470, 3)."""
    return {"WWW-Authenticate": f'Bearer error="{_ERROR}", error_description="{detail}"{parameters}'}


def login_rules(settings: Settings) -> LoginRules:
    """Return the rules of the settings, by the clock of the store of sessions."""
    return LoginRules(settings.sessions, wall_clock(settings, "sessions"))


class LoginRules:
    """Asks sessions for the level and the age of the settings; `clock` tells the time of their store in seconds."""

    def __init__(self, settings: SessionSettings, clock: Callable[[], float]) -> None:
        self._acr = settings.acr
        self._levels = settings.acr_levels
        self._recent_s = settings.recent_auth_s
        self._clock = clock

    def lacks_level(self, session: Session) -> InsufficientAuthentication | None:
        """Return what to raise for a session whose level is not enough for any route; None if it is."""
        if self._acr is None or satisfies(session, acr=self._acr, levels=self._levels, now_ms=self._now_ms()):
            return None
        return self._challenge(None)

    def require_recent(self, session: Session) -> None:
        """Raise InsufficientAuthentication for a session whose user was authenticated too long ago."""
        if not satisfies(session, max_age_ms=self._recent_s * 1000, now_ms=self._now_ms()):
            raise self._challenge(self._recent_s)

    def below(self, acr: str | None) -> InsufficientAuthentication:
        """Return what to raise for a session that is below a level of the settings, which the request takes."""
        rank = 0 if acr is None else self._levels.index(acr)
        detail = "authenticate with all factors of the account (POST /v1/session/reauth)"
        return InsufficientAuthentication(detail, acr_values=self._levels[rank:], max_age_s=AUTHENTICATION_MS // 1000)

    def _challenge(self, recent_s: int | None) -> InsufficientAuthentication:
        """Return a challenge to all that the settings ask for, so that one authentication is enough."""
        rank = 0 if self._acr is None else self._levels.index(self._acr)
        ages_s = [AUTHENTICATION_MS // 1000] if rank > 0 else []
        ages_s += [] if recent_s is None else [recent_s]
        detail = "authenticate at a higher level" if recent_s is None else _AGAIN
        acr_values = () if self._acr is None else self._levels[rank:]
        return InsufficientAuthentication(detail, acr_values=acr_values, max_age_s=min(ages_s, default=None))

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
