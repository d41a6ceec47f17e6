"""What all verbs of the limiter use: the store, and what decides, remembers and counts beside it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from tollhouse.clock import MonotonicClock
from tollhouse.limits.calls.cleanups import CLEANUP_S, Cleanups
from tollhouse.limits.calls.decider import Decider
from tollhouse.limits.calls.refusal_cache import RefusalCache
from tollhouse.limits.outage.fallback import LOCAL, Fallback
from tollhouse.limits.outage.local_limiter import LocalLimiter
from tollhouse.limits.quota.leases import QuotaLeases
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, ScriptRunner

_ID: Final = re.compile(rf"(?:{LOCAL})?[0-9a-f]{{32}}")


class Calls(Struct, frozen=True, kw_only=True, eq=False):
    """The collaborators of one limiter, and the two ways in which a verb runs a script on one subject.

    `clearings` is the channel on which scripts announce that a subject may have units again.
    """

    store: ScriptRunner
    metrics: Metrics
    decider: Decider
    fallback: Fallback
    refusals: RefusalCache
    quota: QuotaLeases
    cleanups: Cleanups
    clock: MonotonicClock
    clearings: str

    async def run(self, script: str, request: TakeRequest, args: Sequence[Argument]) -> list[Any]:
        """Run a script that replies with a decision on the subject; raise StoreUnavailable if it did not reply."""
        reply = await self.store.run(script, [request.state_key], args)
        self.decider.on_reply(reply)
        return reply

    async def run_clearing(self, script: str, request: TakeRequest, args: Sequence[Argument]) -> list[Any]:
        """Run a script that may give units back, and evict the subject's refusals.

        They are evicted also if no reply came, because the script may have run.
        """
        try:
            return await self.store.run(script, [request.state_key], args)
        finally:
            self.refusals.evict(request.state_key)


def new_id() -> str:
    """Return an id for a reservation or a lease that cannot be guessed."""
    return secrets.token_hex(16)


def is_id(given: object) -> bool:
    """Return True if `given` is text in the form of an id, of this process or of the store."""
    return isinstance(given, str) and _ID.fullmatch(given) is not None


def calls_on(
    store: ScriptRunner,
    metrics: Metrics,
    *,
    refusals_max: int,
    clock: MonotonicClock,
    clearings: str,
    cleanup_s: float = CLEANUP_S,
) -> Calls:
    """Return the collaborators of a limiter on `store` that caches the refusals of at most `refusals_max` keys."""
    refusals = RefusalCache(keys_max=refusals_max, clock=clock)
    fallback = Fallback(LocalLimiter(clock=clock))
    quota = QuotaLeases(clock=clock)
    decider = Decider(metrics, refusals, fallback, quota)
    return Calls(
        store=store,
        metrics=metrics,
        decider=decider,
        fallback=fallback,
        refusals=refusals,
        quota=quota,
        cleanups=Cleanups(cleanup_s),
        clock=clock,
        clearings=clearings,
    )
