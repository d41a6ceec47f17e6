"""What tests of sessions share."""

from __future__ import annotations

from itertools import count

from tests.worlds import World
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tokens import Token


async def verified(sessions: Sessions, token: Token | str) -> Session | None:
    """Verify a token; return when what the verify leaves to be written is written."""
    session = await sessions.verify(token)
    await sessions.aclose()
    return session


def neighbour_of(world: World, user: str) -> str:
    """Return another user whose keys have the same tag."""
    names = (f"user-{number}" for number in count())
    return next(name for name in names if _tag_of(world, name) == _tag_of(world, user))


def _tag_of(world: World, user: str) -> str:
    return world.keyring.digest("session-user", user)[:2]
