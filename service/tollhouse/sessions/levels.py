"""Levels of authentication: whether a session's last one is enough for what its client asks for.

Levels are ordered from the weakest to the strongest, by default those of NIST SP 800-63B; each is enough for what asks
for a weaker one. A level that is not among them is enough for itself alone.

An authentication lasts 24 hours, the time of NIST's AAL2 (SP 800-63B-4, 2.2.3): after that it counts as the weakest
level at most. So a browser that is remembered for months opens what anyone with the browser may see, and nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tollhouse.sessions.records import Session

LEVELS: Final = ("aal1", "aal2", "aal3")
"""The authentication assurance levels of NIST SP 800-63B, the weakest first."""

AUTHENTICATION_MS: Final = 24 * 60 * 60_000
"""How long an authentication counts as more than the weakest level."""


def satisfies(
    session: Session,
    *,
    now_ms: int,
    acr: str | None = None,
    max_age_ms: int | None = None,
    levels: Sequence[str] = LEVELS,
) -> bool:
    """Return whether a session was authenticated at the level `acr` or a stronger one, at most `max_age_ms` ago.

    What is None is not asked for. A session whose level is unknown reaches none. No visitor was ever authenticated,
    nor the user as whom an administrator acts.
    """
    if not session.authenticated:
        return acr is None and max_age_ms is None
    age_ms = now_ms - session.authenticated_at
    if max_age_ms is not None and age_ms > max_age_ms:
        return False
    if acr is None:
        return True
    if acr not in levels or session.acr not in levels:
        return session.acr == acr
    reached = 0 if age_ms > AUTHENTICATION_MS else levels.index(session.acr)
    return levels.index(acr) <= reached
