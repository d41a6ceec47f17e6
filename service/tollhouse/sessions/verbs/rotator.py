"""Rotation: a live session gets another secret under the same sid.

`rotate` is for a login of a higher level: a random secret, and the former one opens nothing from then on. A client that
does not get the answer has to log in again.

`renew` is for the age of a secret. Its successor is an HMAC of it under a key that the store never sees: all processes
compute the same one, and none stores it. So requests side by side agree on it, and a client whose answer was lost gets
it again. The former secret stays good until its successor was presented, and for `GRACE_MS` from then, as often as it
comes. After that, it shows that two clients have the session, and ends it; a wrong secret never does.

Both are sent as logins are, and say whether they are durable. If a failover loses one that was not, the new token opens
nothing, and its client has to log in again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from tollhouse.keyring import Keyring
from tollhouse.scripts import Argument, DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.presentation import REUSED, Presentation, Presentations
from tollhouse.sessions.records import Session, is_renewal_due
from tollhouse.sessions.tokens import RandomBytes, Token

GRACE_MS: Final = 30_000
"""How long a former secret stays good after its successor was presented first."""


class Rotator:
    """Gives sessions other secrets."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        presentations: Presentations,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._presentations = presentations
        self._random_bytes = random_bytes

    async def rotate(self, token: Token | str) -> Rotation | None:
        """Replace the secret of a session, as `Sessions.rotate` does."""
        shown = self._presentations.read("rotate", token)
        if shown is None:
            return None
        successor = replace(shown.token, secret=tokens.new_secret(self._random_bytes))
        _, session, durable = await self.send("rotate", shown, successor)
        return None if session is None else Rotation(session=session, token=successor, durable=durable)

    async def renew(self, token: Token | str) -> Rotation | None:
        """Replace the secret of a session if it is due, as `Sessions.renew` does."""
        shown = self._presentations.read("renew", token)
        if shown is None:
            return None
        successor = tokens.successor(self._keyring, shown.token)
        reply, session, durable = await self.send("renew", shown, successor, GRACE_MS)
        if session is None:
            return None
        token = successor if is_renewal_due(reply) else shown.token
        return Rotation(session=replace(session, renewal_due=False), token=token, durable=durable)

    async def send(
        self, verb: str, shown: Presentation, successor: Token, *more: Argument
    ) -> tuple[Sequence[Any], Session | None, bool]:
        """Run a verb that replaces a secret; return the reply, the session if it is open, and whether it is durable."""
        verifier = tokens.verifier(self._keyring, successor)
        assert verifier is not None, "the token that precedes it has a verifier"
        args = (shown.token.sid, shown.own.digest, shown.verifier, verifier, *more)
        reply, durable = await self._store.run_durably(f"sessions/{verb}", shown.names, args)
        if reply[0] == REUSED:
            await self._presentations.end(shown, reply)
        return reply, self._presentations.session(verb, shown, reply), durable
