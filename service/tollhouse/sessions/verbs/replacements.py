"""What a login replaces: the session that its client presented, of a user or of a visitor.

A user's session is ended before the login begins another one: it has its place at the cap, and would have no owner. A
visitor's is ended once the login has a session, so that a login that is refused takes nothing from the visitor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import Steps
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.records import Session
from tollhouse.sessions.revoker import Revoker
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.data_editor import DataEditor

Look = Callable[[Token | str], Awaitable[Session | None]]
"""Returns the session of a token, live or locked, which is no use of it."""


class Replacement(Struct, frozen=True, kw_only=True):
    """What a login replaces: the visitor's session that is still to be ended, and whether what was ended is durable."""

    visitor: Session | None = None
    durable: bool = True


class Replacements:
    """Ends the sessions that clients present with logins, and takes along what a visitor left."""

    def __init__(self, look: Look, revoker: Revoker, data: DataEditor) -> None:
        self._look = look
        self._revoker = revoker
        self._data = data

    async def begin(self, token: Token | str | None, steps: Steps) -> Replacement:
        """End the session of a token, unless it is a visitor's or there is none."""
        session = None if token is None else await self._look(token)
        if session is None or session.anonymous:
            return Replacement(visitor=session)
        return Replacement(durable=await self._end(session, steps))

    async def carried(self, token: Token | str | None, replacement: Replacement) -> Mapping[str, Any]:
        """Return the data of the visitor's session; that of a user's is never another login's."""
        if token is None or replacement.visitor is None:
            return {}
        found = await self._data.read(token)
        return {} if found is None else found.values

    async def finish(
        self, replacement: Replacement, result: Issued | SessionRefused | CapReached, steps: Steps
    ) -> Issued | SessionRefused | CapReached:
        """End the visitor's session, if the login has begun one; the result is durable if both are."""
        if replacement.visitor is None or not isinstance(result, Issued):
            return result
        steps.begun = True
        ended = await self._end(replacement.visitor, steps)
        return replace(result, durable=result.durable and ended)

    async def end(self, token: Token | str | None, steps: Steps) -> bool:
        """End the session of a token, whosever it is; return whether that is durable."""
        session = None if token is None else await self._look(token)
        return session is None or await self._end(session, steps)

    async def _end(self, session: Session, steps: Steps) -> bool:
        result = await self._revoker.revoke(session.user, session.sid, "replaced")
        steps.begun = True
        return result.durable
