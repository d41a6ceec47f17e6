"""The script calls of the cache: each method encodes the arguments of one script and decodes its reply."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from tollhouse.cache.key_names import ALL, EntryKeys, Names
from tollhouse.cache.looks import ALONE_MAX, APART, Hit, Looks
from tollhouse.cache.operation_log import log_marks, log_removal, log_write
from tollhouse.cache.own_leases import OwnLeases
from tollhouse.cache.permits import Permit
from tollhouse.scripts import PRIMARY, Argument

_HOLD: Final = "H"
"""The first character of a hold, which no token of a caller has."""
_TOKEN_BYTES: Final = 12
_FOUND: Final = 1
"""The state of a valid entry in the replies of looks."""
_GRANTED: Final = 2
"""The state of a miss in the reply of cache/get, with a permit."""
_BUSY: Final = 3
"""The state of a miss in the reply of cache/get_or_lease, while another caller loads."""
CAUSES: Final[dict[int, str]] = dict(enumerate(("", "absent", "invalidated", "epoch", "unusable")))
"""The causes of misses, by their numbers in replies."""
_REPLACED_MS: Final = 60_000
"""How long the permit lives of a caller that has its value already."""
_TAGS_MAX: Final = 10_000
"""The most tags of one call: the server does nothing else for some milliseconds."""
_ENTRIES_MAX: Final = 1_000
"""The most entries of one call, for the same reason."""


class CacheStore(Protocol):
    """The methods of a store that the cache uses."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and return its reply; raises StoreError."""
        ...

    @property
    def is_available(self) -> bool:
        """Return False if the store is known to be down; nothing is sent."""
        ...

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script; return its reply, and whether its writes survive a failover; raises StoreError."""
        ...

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Return the next cursor and some key names that match; the scan ends when the cursor is 0 again."""
        ...

    async def info(self, section: str) -> dict[str, str]:
        """Return a section of the server's INFO; empty if there is none."""
        ...


class LoadLease(Struct, frozen=True, kw_only=True):
    """No valid entry, and only this caller may load it; `epoch` and `sequence` are the clock before the load.

    A hold is granted to every caller: the store confirms what was loaded under it, but stores nothing. The `cause` of
    the miss is empty if the entry was not looked up.
    """

    token: str
    epoch: str
    sequence: int
    now_ms: int
    cause: str = ""

    @property
    def is_hold(self) -> bool:
        """Whether an invalidation keeps loads out of the cache for now."""
        return self.token.startswith(_HOLD)


class Busy(Struct, frozen=True, kw_only=True):
    """No valid entry, and another caller is loading it; `holder` is the token of its lease."""

    lease_left_ms: int
    holder: str


class Commands:
    """The commands on entries that share one logical clock. Every method raises StoreError as the store does.

    `leases` are those of this process, and `invalidations` is how many it has begun.
    """

    def __init__(self, store: CacheStore, clock: str, *, lease_ms: int, alone_max: int = ALONE_MAX) -> None:
        self._store = store
        self._clock = clock
        self._lease_ms = lease_ms
        self.leases = OwnLeases(self.release)
        self.looks = Looks(store, clock, alone_max=alone_max)
        self.invalidations = 0

    async def get_or_lease(self, entry: EntryKeys, ttl_ms: int = 0) -> Hit | LoadLease | Busy:
        """Return the entry, a lease to load it, or how long another's lease lasts.

        What is loaded can be stored even if that takes as long as it is to live, `ttl_ms`, or a minute. A lease that a
        caller of this process left behind is taken over; a call that fails or is cancelled keeps none.
        """
        with self.leases.requested(entry) as request:
            reply = await self._get_or_lease(entry, request.token, "", ttl_ms)
            if isinstance(reply, Busy) and self.leases.is_abandoned(reply.holder):
                reply = await self._get_or_lease(entry, request.token, reply.holder, ttl_ms)
            request.is_granted = isinstance(reply, LoadLease) and not reply.is_hold
        return reply

    async def _get_or_lease(self, entry: EntryKeys, token: str, abandoned: str, ttl_ms: int) -> Hit | LoadLease | Busy:
        keys, args = (entry.entry, entry.lease, self._clock), (PRIMARY, token, self._lease_ms, abandoned, ttl_ms)
        self.looks.under_way += 1
        try:
            reply = await self._store.run("cache/get_or_lease", keys, args)
        finally:
            self.looks.under_way -= 1
        if reply[0] == _FOUND:
            return self._hit(entry, reply)
        state, now_ms, sequence, extra, epoch, content = reply
        if state == _BUSY:
            return Busy(lease_left_ms=extra, holder=content.decode("ascii", "replace"))
        return LoadLease(
            token=content.decode(), epoch=epoch.decode(), sequence=sequence, now_ms=now_ms, cause=CAUSES[extra]
        )

    async def fill(self, entry: EntryKeys, lease: LoadLease, envelope: bytes, keep_ms: int) -> bool:
        """Store an envelope and end its lease; return False, storing nothing, if a read would refuse it by now."""
        (accepted,) = await self._store.run(
            "cache/fill", (entry.entry, entry.lease, self._clock), (PRIMARY, lease.token, keep_ms, envelope)
        )
        log_write(entry.entry, is_stored=accepted == 1)
        return accepted == 1

    async def confirm(self, entry: EntryKeys, lease: LoadLease, envelope: bytes) -> bool:
        """Return whether `fill` would have accepted an envelope with this header, and end its lease if so."""
        (accepted,) = await self._store.run(
            "cache/confirm", (entry.entry, entry.lease, self._clock), (PRIMARY, lease.token, envelope)
        )
        return accepted == 1

    async def take_lease(self, entry: EntryKeys, ttl_ms: int = 0) -> LoadLease:
        """Return a lease to load an entry anew, or the hold that keeps loads of it out of the cache.

        A stored value stays until it is replaced; a load under the lease before is not stored any more.
        """
        with self.leases.requested(entry) as request:
            now_ms, sequence, epoch, holder = await self._store.run(
                "cache/take_lease", (entry.lease, self._clock), (PRIMARY, request.token, self._lease_ms, ttl_ms)
            )
            lease = LoadLease(token=holder.decode(), epoch=epoch.decode(), sequence=sequence, now_ms=now_ms)
            request.is_granted = not lease.is_hold
        return lease

    async def lease_early(self, entry: EntryKeys, ttl_ms: int, early_ms: int, unread_ms: int) -> LoadLease | None:
        """Return a lease to load an entry anew that is gone or ends within `early_ms`; None if that is not due.

        It is not if the entry was stored after its last read, `unread_ms` ago, or if another caller loads it.
        """
        with self.leases.requested(entry) as request:
            args = PRIMARY, request.token, self._lease_ms, ttl_ms, early_ms, unread_ms
            granted, now_ms, sequence, epoch, holder = await self._store.run(
                "cache/lease_early", (entry.entry, entry.lease, self._clock), args
            )
            request.is_granted = granted == 1
        if granted != 1:
            return None
        return LoadLease(token=holder.decode(), epoch=epoch.decode(), sequence=sequence, now_ms=now_ms)

    async def renew(self, entry: EntryKeys, token: str) -> bool:
        """Extend a lease; return False if it is lost, or a hold, which ends at its time."""
        if token.startswith(_HOLD):
            return False
        (renewed,) = await self._store.run("cache/renew", (entry.lease,), (token, self._lease_ms))
        return renewed == 1

    async def release(self, entry: EntryKeys, token: str) -> None:
        """End a lease without storing anything; a hold stays."""
        if not token.startswith(_HOLD):
            await self._store.run("cache/release", (entry.lease,), (token,))

    async def get(self, entry: EntryKeys, permit_ms: int) -> Hit | Permit:
        """Return the entry, or the permit to store what is loaded within `permit_ms`.

        With 0 the caller stores nothing, and the server keeps nothing for it.
        """
        final = permit_ms == 0
        if self.looks.meet(entry) and (found := await self.looks.join(entry, final=final)) != APART:
            if isinstance(found, Hit):
                return found
            if final:
                return Permit(token=None, cause=CAUSES[found])
        args = PRIMARY, secrets.token_hex(_TOKEN_BYTES), permit_ms
        self.looks.under_way += 1
        try:
            reply = await self._store.run("cache/get", (*entry.names, self._clock), args)
        finally:
            self.looks.under_way -= 1
        if reply[0] == _FOUND:
            return self._hit(entry, reply)
        state, now_ms, sequence, cause, epoch, content = reply
        token = content.decode() if state == _GRANTED else None
        return Permit(token=token, epoch=epoch.decode(), sequence=sequence, missed_ms=now_ms, cause=CAUSES[cause])

    async def take_permit(self, entry: EntryKeys) -> Permit:
        """Remove the entry, refuse what is being loaded for it, and return the permit to store what replaces it."""
        now_ms, sequence, epoch, granted = await self._store.run(
            "cache/take_permit",
            (*entry.names, self._clock),
            (PRIMARY, secrets.token_hex(_TOKEN_BYTES), _REPLACED_MS),
        )
        return Permit(token=granted.decode(), epoch=epoch.decode(), sequence=sequence, missed_ms=now_ms)

    async def set(self, entry: EntryKeys, permit: Permit, tail: bytes, keep_ms: int) -> bool:
        """Store what follows the head of an envelope; return False if a read would refuse it by now."""
        assert permit.token is not None
        (stored,) = await self._store.run(
            "cache/set",
            (entry.entry, entry.permit, self._clock),
            (PRIMARY, permit.token, permit.epoch, permit.sequence, permit.missed_ms, keep_ms, tail),
        )
        log_write(entry.entry, is_stored=stored == 1)
        return stored == 1

    async def write(self, entry: EntryKeys, lease: LoadLease, envelope: bytes, keep_ms: int) -> None:
        """Store what was written to its source under a lease; if another may be newer, remove the entry instead."""
        keys, args = (*entry.names, self._clock), (PRIMARY, lease.token, keep_ms, envelope)
        await self._store.run("cache/write", keys, args)

    async def sweep(self, entries: Iterable[Names]) -> int:
        """Remove those of the entries that no read would return; return how many they were."""
        (removed,) = await self._store.run("cache/sweep", (self._clock, *(names[0] for names in entries)), (PRIMARY,))
        return removed

    async def invalidate(self, entries: Iterable[Names], hold_ms: int = 0) -> int:
        """Remove entries, and refuse what is being loaded for them, and for `hold_ms` too; return how many existed."""
        self.invalidations += 1
        every, removed = tuple(entries), 0
        for first in range(0, len(every), _ENTRIES_MAX):
            names = [name for each in every[first : first + _ENTRIES_MAX] for name in each]
            _, existed = await self._store.run("cache/invalidate", (self._clock, *names), (hold_ms,))
            removed += existed
        log_removal(every, removed)
        return removed

    async def invalidate_tags(self, digests: Sequence[str], *, durable: bool = False) -> bool:
        """Invalidate every entry with one of the tags whose load began before now, in one step for each 10,000 tags.

        Return whether that survives a failover; False unless `durable` asks for it.
        """
        self.invalidations += 1
        steps = [digests[first : first + _TAGS_MAX] for first in range(0, len(digests), _TAGS_MAX)]
        survives = [await self._mark(step, durable=durable) for step in steps]
        return durable and all(survives)

    async def make_up_for_invalidations(self) -> None:
        """Invalidate every entry, for earlier invalidations of this process that could not be sent."""
        await self._mark((ALL,))

    def _hit(self, entry: EntryKeys, reply: Sequence[Any]) -> Hit:
        _, now_ms, envelope = reply
        self.looks.note_size(entry, len(envelope))
        return Hit(envelope=envelope, now_ms=now_ms)

    async def _mark(self, digests: Sequence[str], *, durable: bool = False) -> bool:
        call, survives = ("cache/invalidate_tags", (self._clock,), digests), False
        if durable:
            _, survives = await self._store.run_durably(*call)
        else:
            await self._store.run(*call)
        log_marks(digests)
        return survives
