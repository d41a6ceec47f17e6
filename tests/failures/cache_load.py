"""An app under load whose cache loses its server: readers by every road to the cache, and a writer.

A subject has a version, which every write raises. A read is stale if it returns less than the version that the process
was promised before the read began: by an invalidation that was acknowledged, or by one of those that make up for it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from msgspec import Struct, field

from tests.http.client import SERVICE, served_app, settings_at
from tollhouse import CacheManager, invalidate_cache, rcached, wiring
from tollhouse.ai.models import Model, Models
from tollhouse.errors import StoreUnavailable
from tollhouse.settings import Settings
from tollhouse.settings.model import LimitSettings, PolicySettings
from tollhouse.wiring import Tollhouse

SUBJECTS: Final = range(3)
READERS: Final = 3
"""How many readers of each road there are for each subject."""
LOAD_S: Final = 0.02
PAUSE_S: Final = 0.12
"""The pause between two writes: every write concerns all answers of the model."""
ROADS: Final = ("get_or_load", "rcached", "manager", "ai")


class Road(Struct):
    """What happened on one way to the cache; times are in seconds."""

    sources: Counter[str] = field(default_factory=Counter[str])
    stale: list[str] = []
    slowest_s: float = 0.0
    loading: Counter[int] = field(default_factory=Counter[int])
    loads: int = 0
    most_loads: int = 0
    first_hit_s: float = 0.0


class AppUnderLoad:
    """The readers and the writer of one app."""

    def __init__(self, client: Tollhouse, http: httpx2.AsyncClient) -> None:
        self.client = client
        self.roads = {road: Road() for road in ROADS}
        self.writes: Counter[str] = Counter()
        self._ends = False
        self._http = http
        self._manager = CacheManager(client, ttl=600)
        self._source = dict.fromkeys(SUBJECTS, 0)
        self._promised = dict.fromkeys(SUBJECTS, 0)
        self._restored_s = time.monotonic()
        self._reads = {
            "get_or_load": self._get_or_load,
            "rcached": self._cached(),
            "manager": self._by_hand,
            "ai": self._ask,
        }

    def begin(self) -> None:
        """Count anew."""
        self.roads |= {name: Road(loading=road.loading) for name, road in self.roads.items()}

    def restored(self) -> None:
        """Note that the server is there again."""
        self._restored_s = time.monotonic()
        for road in self.roads.values():
            road.first_hit_s = 0.0

    def end(self) -> None:
        """End the readers and the writer after what they do now."""
        self._ends = True

    async def hits(self) -> None:
        """Wait until every road has found a stored value since the server is there again."""
        async with asyncio.timeout(10):
            while not all(road.first_hit_s for road in self.roads.values()):  # noqa: ASYNC110 - readers set it
                await asyncio.sleep(0.01)

    async def writes_more(self, count: int) -> None:
        """Wait until there were so many more writes."""
        least = self.writes.total() + count
        while self.writes.total() < least:  # noqa: ASYNC110 - the writer counts them
            await asyncio.sleep(0.01)

    async def load(self, road: str, subject: int) -> int:
        """Read the source, slowly."""
        counts = self.roads[road]
        counts.loading[subject] += 1
        counts.most_loads = max(counts.most_loads, counts.loading[subject])
        counts.loads += 1
        value = self._source[subject]
        try:
            await asyncio.sleep(LOAD_S)
        finally:
            counts.loading[subject] -= 1
        return value

    async def read(self, road: str, subject: int) -> None:
        """Read one subject until the end."""
        while not self._ends:
            least, began_s = self._promised[subject], time.monotonic()
            value, source = await self._reads[road](subject)
            ended_s, counts = time.monotonic(), self.roads[road]
            counts.sources[source] += 1
            counts.slowest_s = max(counts.slowest_s, ended_s - began_s)
            if value < least:
                counts.stale.append(f"{source} gave {value}, {least} was promised")
            if source == "HIT" and not counts.first_hit_s and began_s > self._restored_s:
                counts.first_hit_s = ended_s - self._restored_s
            await asyncio.sleep(0.001)

    async def write(self) -> None:
        """Change a subject after the other, and invalidate it in one way after the other."""
        roads = itertools.cycle((self._tell, self._tell_decorated(), self._tell_manager, self._tell_after_commit))
        for number in itertools.count():
            if self._ends:
                return
            subject = number % len(SUBJECTS)
            self._source[subject] = version = self._source[subject] + 1
            told = await next(roads)(subject)
            self.writes["told" if told else "not told"] += 1
            if told:
                self._promised[subject] = max(self._promised[subject], version)
            await asyncio.sleep(PAUSE_S)

    async def _get_or_load(self, subject: int) -> tuple[int, str]:
        found = await self.client.cache.fetch(
            f"direct:{subject}", lambda: self.load("get_or_load", subject), tags=[_tag(subject)]
        )
        return found.value, found.status

    def _cached(self) -> Callable[[int], Awaitable[tuple[int, str]]]:
        @rcached(ttl=600, tags=["subject:{subject}"], cache=self.client)
        async def version(subject: int) -> int:
            return await self.load("rcached", subject)

        async def read(subject: int) -> tuple[int, str]:
            found = await version.fetch(subject)
            return found.value, found.status

        return read

    async def _by_hand(self, subject: int) -> tuple[int, str]:
        key = f"manager:{subject}"
        found = await self._manager.get(key)
        if found is not None:
            return found, "HIT"
        value = await self.load("manager", subject)
        stored = await self._manager.set(key, value, tags=[_tag(subject)])
        return value, "MISS" if stored else "not stored"

    async def _ask(self, subject: int) -> tuple[int, str]:
        response = await self._http.post("/v1/ai/version", json={"input": subject}, headers=SERVICE)
        assert response.status_code == 200, response.text
        return response.json()["output"], response.headers["x-cache"]

    async def _tell(self, subject: int) -> bool:
        try:
            await self.client.cache.invalidate_tags(_tag(subject), "model:version")
        except StoreUnavailable:
            return False
        return True

    def _tell_decorated(self) -> Callable[[int], Awaitable[bool]]:
        @invalidate_cache(tags=["subject:{subject}", "model:version"], cache=self.client)
        async def change(subject: int) -> bool:
            return subject in SUBJECTS

        return change

    async def _tell_manager(self, subject: int) -> bool:
        await self._manager.invalidate_tags(_tag(subject), "model:version")
        return True

    async def _tell_after_commit(self, subject: int) -> bool:
        async with self.client.cache.after_commit() as pending:
            pending.tags(_tag(subject), "model:version")
        return True


def _tag(subject: int) -> str:
    return f"subject:{subject}"


@asynccontextmanager
async def app_under_load(url: str) -> AsyncGenerator[AppUnderLoad]:
    """Run an app with all its readers and its writer, and end with the first error of any."""
    running: list[AppUnderLoad] = []

    async def version(subject: int) -> int:
        return await running[0].load("ai", subject)

    limits = LimitSettings(policies={"ai": PolicySettings(limit="1000000/minute")})
    settings = settings_at(url, limits=limits, deadline_ms=1_000, round_trip_ms=Settings().round_trip_ms)
    client = wiring.open(settings, models=Models([Model(name="version", version="1", call=version)]))
    app, served = served_app(client)
    transport: Any = httpx2.ASGITransport(app=served, client=("127.0.0.1", 50_000))  # type: ignore[arg-type] - httpx types its scope
    async with app.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://testserver") as http:
        running.append(AppUnderLoad(client, http))
        async with asyncio.TaskGroup() as group:
            group.create_task(running[0].write())
            for road, subject, _ in itertools.product(ROADS, SUBJECTS, range(READERS)):
                group.create_task(running[0].read(road, subject))
            try:
                yield running[0]
            finally:
                running[0].end()
