"""A store between a limiter and its server, at which a test watches calls, holds them back, or makes them fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from tests.clocks import Clock
from tests.worlds import World
from tollhouse.errors import Outcome, StoreUnavailable
from tollhouse.limits.decision import Decision
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.policy import Policy
from tollhouse.scripts import Argument, ScriptRunner

PATIENCE_S = 30.0


class Call(Struct, frozen=True, kw_only=True):
    """One script call, as the limiter made it."""

    script: str
    keys: tuple[str, ...]
    args: tuple[Argument, ...]
    waited_ms: int = 0


class WatchedStore:
    """Runs scripts on another store, and records them; `failure` is raised instead, and `hold` keeps calls waiting.

    With `after`, a call that fails has run all the same, like one whose reply was lost.
    """

    def __init__(self, store: ScriptRunner) -> None:
        self.calls: list[Call] = []
        self.failure: Exception | None = None
        self.after = False
        self.in_flight = 0
        self.most_in_flight = 0
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._changed = asyncio.Event()

    @property
    def sizes(self) -> list[int]:
        """How many takes each call carried."""
        return [len(call.keys) for call in self.calls]

    @property
    def scripts(self) -> list[str]:
        """The names of the scripts, in order."""
        return [call.script for call in self.calls]

    def fail(self, outcome: Outcome = "not-sent") -> None:
        """Make every call fail from now on, as in an outage."""
        self.failure = StoreUnavailable("limits", outcome, "it is down")
        self.after = outcome == "ambiguous"

    def heal(self) -> None:
        """Run calls again."""
        self.failure = None

    def hold(self) -> None:
        """Keep calls from running until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Run the calls that wait, and all others."""
        self._open.set()

    async def until_in_flight(self, calls: int) -> None:
        """Wait until exactly so many calls are in flight."""
        async with asyncio.timeout(PATIENCE_S):
            while self.in_flight != calls:
                self._changed.clear()
                await self._changed.wait()

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument], *, waited_ms: int = 0) -> list[Any]:
        self.calls.append(Call(script=script, keys=tuple(keys), args=tuple(args), waited_ms=waited_ms))
        self._count(1)
        try:
            await self._open.wait()
            if self.failure is not None and not self.after:
                raise self.failure
            reply = await self._store.run(script, keys, args)
            if self.failure is not None:
                raise self.failure
        finally:
            self._count(-1)
        return reply

    def _count(self, change: int) -> None:
        self.in_flight += change
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        self._changed.set()


class Setup:
    """A limiter on a world, over a store that is watched, with a clock that only the test moves."""

    def __init__(self, world: World, *policies: Policy, store: ScriptRunner | None = None, **how: Any) -> None:
        self.world = world
        self.clock = Clock()
        self.store = WatchedStore(world.stores.limits if store is None else store)
        self.limits = Limiter(
            self.store,
            {policy.name: policy for policy in policies},
            world.keyring,
            world.metrics,
            clock=self.clock.monotonic_ms,
            sleep=self.clock.sleep,
            **how,
        )

    def submit(self, policy: str, key: str, cost: int | None = None) -> asyncio.Future[Decision]:
        """Take as a caller that is no coroutine does, and return what it gets the decision by."""
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self.limits.submit(future, policy, key, cost)
        return future

    async def pass_ms(self, ms: int) -> None:
        """Advance the clocks of the server and the process."""
        await self.world.advance(ms)
        self.clock.advance(ms)

    def counted(self, policy: str, outcome: str) -> float:
        """Return how many decisions of a policy were counted under an outcome."""
        labels = {"policy": policy, "outcome": outcome}
        return self.world.metrics.registry.get_sample_value("tollhouse_ratelimit_decisions_total", labels) or 0


async def ticks(many: int = 20) -> None:
    """Run the event loop until every task that can run has run."""
    for _ in range(many):
        await asyncio.sleep(0)
