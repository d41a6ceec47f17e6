"""A forced failover of servers that refuse to write without a replica, as in the compose file: what calls see of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest

import tollhouse
from tollhouse.errors import StoreUnavailable
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.wiring import Tollhouse

pytestmark = pytest.mark.sentinel

BEFORE_S, AFTER_S = 0.5, 4.0
PATIENCE_S = 10.0


@pytest.fixture
def cluster() -> Iterator[SentinelCluster]:
    cluster = SentinelCluster.start(min_replicas=1)
    yield cluster
    cluster.stop()


class Load:
    """Calls one after the other in each of several lines, and what became of them."""

    def __init__(self, th: Tollhouse, issued: Issued) -> None:
        self._th = th
        self._issued = issued
        self.outcomes: Counter[str] = Counter()
        self.longest_s: dict[str, float] = {}

    async def verify(self) -> str:
        return "ok" if await self._th.sessions.verify(self._issued.token) is not None else "refused"

    async def create(self) -> str:
        return "ok" if isinstance(await self._th.sessions.create(secrets.token_hex(4)), Issued) else "refused"

    async def take(self) -> str:
        return "degraded" if (await self._th.limits.take("default", secrets.token_hex(4))).degraded else "ok"

    async def line(self, call: Callable[[], Awaitable[str]], pause_s: float, end_s: float) -> None:
        verb = call.__name__
        while (began_s := time.monotonic()) < end_s:
            try:
                outcome = await call()
            except StoreUnavailable as error:
                outcome = error.outcome
            self.outcomes[f"{verb} {outcome}"] += 1
            self.longest_s[verb] = max(self.longest_s.get(verb, 0.0), time.monotonic() - began_s)
            await asyncio.sleep(pause_s)


async def test_a_forced_failover_costs_waiting_and_no_error(cluster: SentinelCluster) -> None:
    """Verifies are answered while no replica follows the new primary; creates and takes wait inside their deadline.

    Sentinel tells the replicas about a second after the promotion, so a deadline of 1 s is a little too short for it.
    """
    settings = Settings(url=cluster.url, secret=(secrets.token_bytes(32),), deadline_ms=3_000)
    async with tollhouse.open(settings) as th:
        kept, gone = [await th.sessions.create("ada") for _ in range(2)]
        assert isinstance(kept, Issued)
        assert isinstance(gone, Issued)
        await th.sessions.revoke("ada", gone.session.sid)
        load = Load(th, kept)
        await asyncio.gather(load.verify(), load.create(), load.take())
        made = sum(store.connections for store in th.stores.all())

        end_s = time.monotonic() + BEFORE_S + AFTER_S
        lines = [
            asyncio.create_task(load.line(call, pause_s, end_s))
            for call, pause_s, many in ((load.verify, 0.005, 4), (load.create, 0.02, 8), (load.take, 0.02, 8))
            for _ in range(many)
        ]
        await asyncio.sleep(BEFORE_S)
        await asyncio.to_thread(cluster.call, cluster.sentinels[0], "SENTINEL", "FAILOVER", "main")
        await asyncio.gather(*lines)

        assert set(load.outcomes) == {"verify ok", "create ok", "take ok"}
        assert load.longest_s["verify"] < min(0.5, load.longest_s["create"])  # creates waited for a replica
        assert sum(store.connections for store in th.stores.all()) - made <= 4
        assert await th.sessions.verify(gone.token) is None
