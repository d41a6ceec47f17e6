"""The session cookie: set on login, rotation and renewal, cleared on logout, in no other response.

While an administrator acts as a user, that is the impersonation's, and a second cookie keeps the administrator's token.
A third one makes a browser a trusted device of its user: each login sets it, and no logout clears it.

It is never set again with a value that a browser has already: the response of a slow request would bring back a token
that another response has replaced since. So attributes that changed reach a browser with its next token.
"""

from __future__ import annotations

from typing import Final

from litestar.datastructures import Cookie

from tollhouse.accounts.throttling.devices import DeviceToken
from tollhouse.asgi.credentials import actor_cookie_name, cookie_name, device_cookie_name
from tollhouse.sessions.policies import Policies, SessionPolicy
from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import Token
from tollhouse.settings.throttle import ThrottleSettings

_UNKNOWN: Final = SessionPolicy(idle_ms=1_000, absolute_ms=1_000)
"""Stands for a policy that the settings no longer have: its cookie has the default attributes."""
_DEVICE_DAYS: Final = ThrottleSettings().device_days


class SessionCookies:
    """Makes the cookies of sessions, whose attributes the policy of a session chooses."""

    def __init__(self, policies: Policies, *, plain_http: bool, device_days: int = _DEVICE_DAYS) -> None:
        self.name = cookie_name(plain_http=plain_http)
        self.actor_name = actor_cookie_name(plain_http=plain_http)
        self.device_name = device_cookie_name(plain_http=plain_http)
        self._device_s = 86_400 * device_days
        self._policies = policies
        self._secure = not plain_http

    def holding(self, token: Token, session: Session) -> Cookie:
        """Return the cookie that holds the token of a session.

        Unless it is persistent, the browser deletes it when it closes: no bearer secret persists. A persistent one
        lasts until the session's end, which only a step-up moves, with another token: so no use has to prolong it.
        """
        return self._holding(self.name, token, session)

    def keeping(self, token: Token, session: Session) -> Cookie:
        """Return the cookie that keeps the token of the session that began an impersonation."""
        return self._holding(self.actor_name, token, session)

    def trusting(self, device: DeviceToken) -> Cookie:
        """Return the cookie that makes a browser a trusted device."""
        return self._cookie(self.device_name, device.reveal(), _UNKNOWN, self._device_s)

    def cleared(self) -> Cookie:
        """Return the cookie that makes a browser delete the one it has."""
        return self._cookie(self.name, "", _UNKNOWN, 0)

    def actor_cleared(self) -> Cookie:
        """Return the cookie that makes a browser delete the token that it keeps."""
        return self._cookie(self.actor_name, "", _UNKNOWN, 0)

    def _holding(self, name: str, token: Token, session: Session) -> Cookie:
        policy = self._policies.get(session.policy, _UNKNOWN)
        left_s = (session.expires_at - session.last_seen_at) // 1000
        max_age_s = left_s if policy.cookie == "persistent" else None
        return self._cookie(name, token.reveal(), policy, max_age_s)

    def _cookie(self, name: str, value: str, policy: SessionPolicy, max_age_s: int | None) -> Cookie:
        return Cookie(
            key=name,
            value=value,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite=policy.same_site,
            max_age=max_age_s,
        )
