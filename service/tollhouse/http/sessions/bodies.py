"""Bodies of the session routes that several of them send; times are integer milliseconds since 1970."""

from __future__ import annotations

from msgspec import Struct, convert

from tollhouse.sessions.records import Session


class SessionBody(Struct, frozen=True, kw_only=True):
    """A session as its user sees it; times are integer milliseconds since 1970."""

    sid: str
    user: str
    created_at: int
    expires_at: int
    idle_expires_at: int


def session_body(session: Session) -> SessionBody:
    """Return the members of a session that its user may see."""
    return convert(session, SessionBody, from_attributes=True)
