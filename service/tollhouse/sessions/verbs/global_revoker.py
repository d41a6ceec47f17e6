"""The end of every session of every user: one epoch for each hash tag, 256 of them, and no record is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import Steps
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.revocations import EveryoneRevoked
from tollhouse.sessions.revoker import Revoker
from tollhouse.sessions.tokens import RandomBytes
from tollhouse.sessions.user_keys import all_tags

_AT_ONCE: Final = 64
"""Calls under way at a time."""


class EveryoneResult(Struct, frozen=True, kw_only=True):
    """Every session that began before the call is over; `durable` is True if that survives a failover."""

    durable: bool


class GlobalRevoker:
    """Ends the sessions of all users; the revocation log has an entry for each tag, and replays it on new primaries."""

    def __init__(
        self,
        store: DurableScriptRunner,
        metrics: Metrics,
        namespace: Namespace,
        revoker: Revoker,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._namespace = namespace
        self._revoker = revoker
        self._random_bytes = random_bytes

    async def revoke_everyone(self) -> EveryoneResult:
        """End the sessions of all users, as `Sessions.revoke_everyone` does."""
        name = tokens.new_sid(self._random_bytes)
        pending = (EveryoneRevoked(shard=tag, name=name) for tag in all_tags())
        with Steps() as steps:
            parts = await asyncio.gather(*(self._run(pending, steps) for _ in range(_AT_ONCE)), return_exceptions=True)
            for part in parts:
                if isinstance(part, BaseException):
                    raise part
        self._metrics.session("revoke_everyone", "ok")
        return EveryoneResult(durable=all(parts))

    async def _run(self, pending: Iterator[EveryoneRevoked], steps: Steps) -> bool:
        """Take one tag after another until none is left; return whether all that this took is durable."""
        durable = True
        for revocation in pending:
            replays = self._revoker.replays
            (epoch_ms,), confirmed = await self._store.run_durably(*revocation.call(self._namespace))
            steps.begun = True
            if epoch_ms:
                await self._revoker.record(replace(revocation, epoch_ms=epoch_ms), replays)
            durable = durable and confirmed
        return durable
