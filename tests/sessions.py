"""What tests of sessions share."""

from __future__ import annotations

from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token


async def verified(sessions: Sessions, token: Token | str) -> Session | None:
    """Verify a token; return when what the verify leaves to be written is written."""
    session = await sessions.verify(token)
    await sessions.aclose()
    return session
