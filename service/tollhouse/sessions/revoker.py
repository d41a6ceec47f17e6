"""Revocation: ends one session or all sessions of a user, and ends them again on a primary that may have lost it.

A revocation is one script call, which also announces it to the other processes. Every process adds what it revoked
and what it heard of to its `RevocationLog`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise
from types import NoneType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import InvalidInput, Steps, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.records import Session
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.revocations import (
    CAUSES,
    CAUSES_OF_ALL,
    AllSessionsRevoked,
    Cause,
    CauseOfAll,
    Revocation,
    SessionRevoked,
    read_announcement,
)
from tollhouse.sessions.tokens import RandomBytes
from tollhouse.sessions.user_keys import UserKeys, user_keys
from tollhouse.sessions.validation import valid_user
from tollhouse.suggest import one_of

_MEMBERS_PER_RUN: Final = 500
"""The most index entries that one run of `sessions/revoke_all` reads: a script blocks the server."""
_CONCURRENT_REPLAYS: Final = 500


Run = Callable[[str, Sequence[str], Sequence[Argument]], Awaitable[list[Any]]]
"""Runs a script on one particular connection."""


class RevokeResult(Struct, frozen=True, kw_only=True):
    """The session is over; `found` is False if it did not exist, or is not this user's."""

    found: bool
    durable: bool


class RevokeAllResult(Struct, frozen=True, kw_only=True):
    """All sessions that began earlier are over; `removed` counts those that were still in the index."""

    removed: int
    durable: bool


class Revoker:
    """Revokes sessions, and replays revocations on new primaries."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        metrics: Metrics,
        log: RevocationLog,
        namespace: Namespace,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._log = log
        self._namespace = namespace
        self._random_bytes = random_bytes
        self.replays = 0
        """How many replays have begun: a caller of `record` remembers it from before its call."""

    async def revoke(self, user: str, sid: str, cause: Cause = "revoked") -> RevokeResult:
        """End one session of a user, as `Sessions.revoke` does."""
        user = valid_user(user)
        _check_cause(cause, CAUSES)
        require_type("sid", sid, str, "give the `sid` of a session")
        # An invalid sid can be any text, and such a text must not become part of a key name.
        keys = user_keys(self._namespace, self._keyring, user) if tokens.is_sid(sid) else ()
        with Steps() as steps:
            found, durable = await self._revoke_under(keys, user, sid, cause, steps)
        self._metrics.session("revoke", "ok" if found else "unknown")
        return RevokeResult(found=found, durable=durable)

    async def end(self, revocation: SessionRevoked, kind: Cause) -> None:
        """End one session, of which only the keys are known, as `revoke` does."""
        with Steps() as steps:
            await self._revoke(revocation, kind, steps)

    async def revoke_all(self, user: str, keep: Session | None, cause: CauseOfAll = "revoked-all") -> RevokeAllResult:
        """End the sessions of a user, as `Sessions.revoke_all` does."""
        user = valid_user(user)
        _check_cause(cause, CAUSES_OF_ALL)
        require_type("keep", keep, (Session, NoneType), "give a session, such as `verify` returns")
        name, kept_sid = tokens.new_sid(self._random_bytes), "" if keep is None else keep.sid
        removed, durable = 0, True
        with Steps() as steps:
            for own in user_keys(self._namespace, self._keyring, user):
                revocation = AllSessionsRevoked(user=user, digest=own.digest, name=name, keep=kept_sid)
                count, confirmed = await self._revoke_all_under(revocation, cause, steps)
                removed, durable = removed + count, durable and confirmed
        self._metrics.session("revoke_all", "ok")
        return RevokeAllResult(removed=removed, durable=durable)

    async def replay(self, run: Run) -> None:
        """Run every revocation of the log again, on a new primary, before any other call there that writes.

        If one fails, all are to be run again, and the log forgets nothing until then. The first goes alone: a primary
        that may not write is spared the others.
        """
        self.replays += 1
        self._log.hold()
        calls = [revocation.call(self._namespace) for revocation in self._log.entries()]
        for first, last in pairwise((0, *range(1, len(calls), _CONCURRENT_REPLAYS), len(calls))):
            await asyncio.gather(*(run(*call) for call in calls[first:last]))
        self._log.release()

    async def record(self, revocation: Revocation, replays: int) -> None:
        """Add a revocation to the log; `replays` is the count of replays before its call was sent.

        A replay since then did not include it, on a primary that may have lost the call, so the call is repeated.
        """
        self._add(revocation)
        if self.replays != replays:
            await self._store.run(*revocation.call(self._namespace))

    def on_announcement(self, payload: bytes) -> None:
        """Add an announced revocation, by this process or another, to the log; count one that cannot be read."""
        revocation = read_announcement(payload)
        if revocation is None:
            self._metrics.discarded_state("announcement")
        else:
            self._add(revocation)

    def on_gap(self) -> None:
        """Count a gap in which announcements may have been missed; they cannot be fetched later."""
        self._metrics.session("hear", "missed")

    async def _revoke_under(
        self, keys: Iterable[UserKeys], user: str, sid: str, cause: Cause, steps: Steps
    ) -> tuple[bool, bool]:
        """End a session; return whether there was one under any secret, and whether that is durable."""
        found, durable = False, True
        for own in keys:
            revocation = SessionRevoked(user=user, digest=own.digest, sid=sid)
            ended, confirmed = await self._revoke(revocation, cause, steps)
            found, durable = found or ended, durable and confirmed
        return found, durable

    async def _revoke(self, revocation: SessionRevoked, kind: Cause, steps: Steps) -> tuple[bool, bool]:
        """End a session under one secret, and the impersonations that it began.

        Return whether there was one, and whether that is durable. Also of one that is over already: the call that ended
        it may have failed behind its first step.
        """
        replays = self.replays
        reply, confirmed = await self._store.run_durably(*revocation.call(self._namespace, kind))
        ended = reply[0] == 1
        if ended:
            steps.begun = True
            await self.record(revocation, replays)
        confirmed = await self._end_impersonations(reply[1], steps) and confirmed
        return ended, confirmed

    async def _end_impersonations(self, notes: bytes, steps: Steps) -> bool:
        """End the impersonations that sessions began before they ended; return whether that is durable."""
        durable = True
        for note in notes.decode().splitlines():
            _, _, sid, user = note.split(" ", 3)
            keys = user_keys(self._namespace, self._keyring, user)
            _, confirmed = await self._revoke_under(keys, user, sid, "impersonation-ended", steps)
            durable = durable and confirmed
        return durable

    async def _revoke_all_under(
        self, revocation: AllSessionsRevoked, why: CauseOfAll, steps: Steps
    ) -> tuple[int, bool]:
        """End a user's sessions under one secret; return how many were removed, and whether that is durable.

        The first run already ends all of them, by the epoch; further runs remove the records in bounded parts. They
        repeat its epoch, so that another call in between does not make one of them raise it again.
        """
        removed, alive, durable, notes = 0, 0, True, b""
        looked_at = _MEMBERS_PER_RUN
        while looked_at == _MEMBERS_PER_RUN:
            replays = self.replays
            call = revocation.call(self._namespace, why, skip=alive, part=_MEMBERS_PER_RUN)
            reply, confirmed = await self._store.run_durably(*call)
            steps.begun = True
            looked_at, count, epoch_ms, young, notes = reply
            removed, alive, durable = removed + count, alive + looked_at - count, durable and confirmed
            for sid in young:
                self._add(SessionRevoked(user=revocation.user, digest=revocation.digest, sid=sid.decode()))
            revocation = replace(revocation, epoch_ms=epoch_ms)
            await self.record(revocation, replays)
        durable = await self._end_impersonations(notes, steps) and durable
        return removed, durable

    def _add(self, revocation: Revocation) -> None:
        if not self._log.add(revocation):
            self._metrics.discarded_state("revocation")


def _check_cause(cause: str, causes: tuple[str, ...]) -> None:
    if cause not in causes:
        raise InvalidInput("cause", cause, one_of(cause, causes))
