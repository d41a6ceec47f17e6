"""The model of a session: what a process may expect of it, by the policy alone and without a store."""

from __future__ import annotations

from typing import Any, Final

from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.rotator import GRACE_MS

_TOUCH_MS_MAX: Final = 60_000
_DAY_MS: Final = 86_400_000
_TOUCHES: Final = 20
"""A use is recorded at most so often in an idle time."""


class Expected:
    """A session that was created under `rules`; `left_ms` is the life that its record has."""

    def __init__(self, issued: Issued, rules: SessionPolicy) -> None:
        self.token = issued.token
        self.first = issued.session
        self.idle_ms, self.absolute_ms = rules.idle_ms, rules.absolute_ms
        self.last_end_ms = issued.session.expires_at
        self.seen_ms = issued.session.created_at
        self.locks = rules.on_idle == "lock"
        self.left_ms = self.stored_end_ms - self.seen_ms
        self.ended = False
        self.because: tuple[str, int] | None = None
        self.renew_ms = rules.renew_ms
        self.renew_at_ms = rules.renew_ms and self.seen_ms + rules.renew_ms
        self.former: Token | None = None
        self.grace_end_ms: int | None = None
        self.data: dict[str, Any] = {}
        self.version = 1

    @property
    def end_ms(self) -> int:
        return min(self.seen_ms + self.idle_ms, self.last_end_ms)

    @property
    def stored_end_ms(self) -> int:
        """The end of the record: one that locks stays when it is idle."""
        return self.last_end_ms if self.locks else self.end_ms

    def stored(self, now_ms: int) -> bool:
        """Return whether the session lives or is locked."""
        return not self.ended and self.left_ms > 0 and max(now_ms, self.seen_ms) < self.stored_end_ms

    def alive(self, now_ms: int) -> bool:
        return self.stored(now_ms) and max(now_ms, self.seen_ms) < self.end_ms

    def end(self, reason: str, now_ms: int) -> None:
        """End the session, unless it is over already."""
        if self.stored(now_ms):
            self.ended, self.because = True, (reason, now_ms)

    def why(self, now_ms: int) -> tuple[str, int] | None:
        """Return why the session is over and since when; None if it lives, or was over a day ago."""
        if self.alive(now_ms):
            return None
        if self.stored(now_ms):
            return "locked", self.end_ms
        by_itself = "expired" if self.stored_end_ms == self.last_end_ms else "idle"
        reason, at_ms = self.because or (by_itself, self.stored_end_ms)
        return (reason, at_ms) if now_ms < at_ms + _DAY_MS else None

    def renewal_due(self, now_ms: int) -> bool:
        return self.renew_at_ms is not None and now_ms >= self.renew_at_ms

    def in_grace(self, now_ms: int) -> bool:
        """Return whether the former token, if there is one, is good."""
        return self.grace_end_ms is None or now_ms <= self.grace_end_ms

    def rotate(self, token: Token, now_ms: int) -> None:
        self.token, self.former, self.renew_at_ms = token, None, self.renew_ms and now_ms + self.renew_ms

    def renew(self, token: Token) -> None:
        self.token, self.former, self.grace_end_ms, self.renew_at_ms = token, self.token, None, None

    def present(self, now_ms: int) -> None:
        """Note that the token was presented: the first time, the grace of the one that it follows begins."""
        if self.former is not None and self.grace_end_ms is None:
            assert self.renew_ms is not None
            self.grace_end_ms, self.renew_at_ms = now_ms + GRACE_MS, now_ms + self.renew_ms

    def step_up(self, now_ms: int) -> None:
        """Begin the times anew, as at the creation."""
        self.seen_ms, self.last_end_ms = now_ms, now_ms + self.absolute_ms
        self.left_ms = self.stored_end_ms - now_ms

    def touch(self, now_ms: int) -> None:
        if now_ms - self.seen_ms >= min(_TOUCH_MS_MAX, self.idle_ms / _TOUCHES):
            self.seen_ms = now_ms
            self.left_ms = self.stored_end_ms - now_ms

    def advance(self, ms: int) -> None:
        self.left_ms -= ms
