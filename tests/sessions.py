"""What tests of sessions share."""

from __future__ import annotations

from itertools import count

from tests.spec.stored import flat
from tests.worlds import World
from tollhouse.keys import UNNAMED
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


def counted(world: World, operation: str, outcome: str) -> float | None:
    """Return how many calls of an operation had an outcome; None if it had none ever."""
    labels = {"operation": operation, "outcome": outcome}
    return world.metrics.registry.get_sample_value("tollhouse_session_operations_total", labels)


async def events_of(world: World, token: Token, sid: str | None = None) -> list[str]:
    """Return the kinds of the events of a session, in order; with `sid`, those of another in its shard."""
    kinds = []
    for _, *fields in await world.command("sessions", "XRANGE", UNNAMED.session_events(token.digest[:2]), "-", "+"):
        texts = [text.decode() for text in flat(fields)]
        event = dict(zip(texts[::2], texts[1::2], strict=True))
        if event["sid"] == (token.sid if sid is None else sid):
            kinds.append(event["kind"])
    return kinds
