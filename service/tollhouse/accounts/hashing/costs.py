"""What the hashes of accounts cost, noted in the store, so that every process knows it before its first login.

After a change of the profile, or a restart, a process has verified no hash of the former one yet. If it learned of that
only by an account that has one, the first guess at that account would take longer than one at another name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from tollhouse.accounts.hashing.argon2id import Profile
from tollhouse.clock import MonotonicClock, monotonic_ms
from tollhouse.errors import ConfigurationError, StoreError
from tollhouse.keys import Namespace
from tollhouse.logs import Log
from tollhouse.scripts import ScriptRunner

COSTS_MAX: Final = 4
"""How many profiles a wrong password is compared with: more would make a login cost a multiple for ever."""
REFRESH_MS: Final = 60_000
"""How often a process notes the costs of the hashes that it verified, and learns of those that others noted."""
RETRY_MS: Final = 1_000
"""How long it waits after a failure of the store."""
LIFETIME_MS: Final = 90 * 24 * 3_600_000
"""How long a cost counts of which no process verifies a hash."""

_log: Final = Log("tollhouse.accounts")


class HashCosts:
    """Exchanges the costs of hashes between the processes that share a store of accounts."""

    def __init__(self, store: ScriptRunner, namespace: Namespace, *, monotonic: MonotonicClock = monotonic_ms) -> None:
        self._store = store
        self._key = namespace.hash_costs
        self._monotonic = monotonic
        self._due_ms: int | None = None
        self._lock = asyncio.Lock()

    async def exchange(self, verified: Iterable[Profile]) -> Sequence[Profile] | None:
        """Note the costs of hashes that were verified, and return all that are noted; None if it is not due.

        It is due once a minute, by the time alone, never by a name. Callers who come meanwhile wait for it. An outage
        is logged, and it is due again a second later.
        """
        if not self._is_due():
            return None
        async with self._lock:
            return await self._exchange(verified) if self._is_due() else None

    def _is_due(self) -> bool:
        return self._due_ms is None or self._monotonic() >= self._due_ms

    async def _exchange(self, verified: Iterable[Profile]) -> Sequence[Profile] | None:
        args = (LIFETIME_MS, COSTS_MAX, *map(_number, verified))
        try:
            noted = await self._store.run("accounts/note_costs", (self._key,), args)
        except StoreError as error:
            _log.warning("costs of hashes unknown", extra={"reason": str(error)})
            self._due_ms = self._monotonic() + RETRY_MS
            return None
        self._due_ms = self._monotonic() + REFRESH_MS
        return [profile for profile in map(_profile, noted) if profile is not None]


def _number(profile: Profile) -> int:
    return profile.memory_kib * 1_000 + profile.time_cost * 10 + profile.parallelism


def _profile(number: int) -> Profile | None:
    """Return the profile of a number in the store; None if no hash of ours has it."""
    memory_kib, rest = divmod(number, 1_000)
    try:
        return Profile(memory_kib=memory_kib, time_cost=rest // 10, parallelism=rest % 10)
    except ConfigurationError:
        return None
