"""Failovers in a row on a cluster of our own: what a process keeps of each, and which durable writes it lost.

    python -m bench.failovers 20

Forced and coordinated ones take turns while takes and durable takes go on. Between failovers the program waits
until both replicas follow the new primary, which Sentinel sees to after about ten seconds. Memory, file
descriptors and tasks are read when nothing is under way, after the first failover and after every other one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from msgspec import Struct

from bench.machine import write_result
from bench.open_loop import running
from tollhouse import scripts
from tollhouse.errors import StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.stores.embedded.sentinel_config import replicas_in_sync, sentinel_is_ready
from tollhouse.stores.opening import open_stores
from tollhouse.stores.store import Store
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import urls_by_store

RATE_S = 0.005
DURABLE_EVERY = 4
TAKE = (1, "sliding-window", 1, 1000, 3_600_000, 60, 1, 1)
"""One policy of one window: 1000 an hour; one take of 1."""
PATIENCE_S = 60.0


class Footprint(Struct, frozen=True, kw_only=True):
    """The memory, descriptors and tasks of the process after a failover, and the results of its calls meanwhile."""

    failover: int
    kind: str
    switched_ms: int
    rss_kib: int
    descriptors: int
    tasks: int
    durable: int
    durable_lost: int
    answered: int
    failed: dict[str, int]


class Workload:
    """An open loop of takes on one store; every fourth of them is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._numbers = itertools.count()
        self.durable: list[str] = []
        self.answered = 0
        self.failed: Counter[str] = Counter()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Send calls while the block runs; at its end all of them are answered."""
        return running(self._take, RATE_S)

    async def verified(self) -> tuple[int, int]:
        """Count the writes answered `durable: true`, and those of them that are gone; forget them."""
        kept = [await self._store.command("EXISTS", key) for key in self.durable]
        self.durable.clear()
        return len(kept), kept.count(0)

    async def _take(self) -> None:
        number = next(self._numbers)
        key = f"tollhouse:rate:{{{number}}}:bench"
        try:
            if number % DURABLE_EVERY:
                await self._store.run("limits/take", [key], TAKE)
            else:
                _, durable = await self._store.run_durably("limits/take", [key], TAKE)
                if durable:
                    self.durable.append(key)
        except StoreUnavailable as error:
            self.failed[f"{error.outcome}: {error}"] += 1
        else:
            self.answered += 1


async def measured(cluster: SentinelCluster, count: int) -> list[Footprint]:
    """Cause `count` failovers, and measure after each."""
    stores = open_stores(urls_by_store(cluster.url, {}), scripts.load(), Metrics())
    limits = stores.limits
    assert isinstance(limits, Store)
    for store in stores.all():
        await store.ping()
    found: list[Footprint] = []
    for number, kind in zip(range(1, count + 1), itertools.cycle(("forced", "coordinated")), strict=False):
        workload = Workload(limits)
        async with workload.running():
            await asyncio.sleep(0.3)
            switched_s = await _failed_over(cluster, limits, kind)
            await asyncio.sleep(0.5)
        await _settled(cluster)
        for store in stores.all():
            await store.ping()
        durable, lost = await workload.verified()
        gc.collect()
        found.append(
            Footprint(
                failover=number,
                kind=kind,
                switched_ms=round(switched_s * 1000),
                rss_kib=_rss_kib(),
                descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - counts, and makes no paths
                tasks=len(asyncio.all_tasks()),
                durable=durable,
                durable_lost=lost,
                answered=workload.answered,
                failed=dict(workload.failed),
            )
        )
        print(found[-1], flush=True)
    await stores.aclose()
    return found


async def _failed_over(cluster: SentinelCluster, store: Store, kind: str) -> float:
    """Start a failover; return the time from the consent of the Sentinel to our new generation."""
    before = _generation(store)
    command = ("SENTINEL", "FAILOVER", "main", *(("COORDINATED",) if kind == "coordinated" else ()))

    def consented() -> bool:
        return cluster.call(cluster.sentinels[0], *command) == "OK"

    await _until(consented)
    began_s = time.monotonic()
    while _generation(store) == before:
        if time.monotonic() - began_s > PATIENCE_S:
            raise TimeoutError("no new generation")
        await asyncio.sleep(0.002)
    return time.monotonic() - began_s


async def _settled(cluster: SentinelCluster) -> None:
    """Wait until both replicas follow the primary, and every Sentinel knows of it."""

    def settled() -> bool:
        primary = cluster.primary()
        if primary is None:
            return False
        nodes = [primary, *(node for node in cluster.nodes if node.name != primary.name)]
        return replicas_in_sync([cluster.call(node, "INFO", "replication") for node in nodes]) and all(
            sentinel_is_ready(
                *(_entries(cluster.call(one, "SENTINEL", kind, "main")) for kind in ("SENTINELS", "REPLICAS"))
            )
            for one in cluster.sentinels
        )

    await _until(settled)


def _entries(reply: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in reply]


async def _until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            if await asyncio.to_thread(condition):
                return
        except (OSError, ServerError, KeyError):
            pass  # no answer yet
        await asyncio.sleep(0.05)
    raise TimeoutError(f"still not true after {PATIENCE_S:g} s")


def _generation(store: Store) -> int:
    health = store.health()
    return 0 if health is None or health.generation is None else health.generation.number


def _rss_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def table(found: Sequence[Footprint]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| failover | kind | new generation after | RSS | descriptors | tasks | durable | lost | answered | failed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        failed = ", ".join(f"{count} {why}" for why, count in one.failed.items()) or "0"
        lines.append(
            f"| {one.failover} | {one.kind} | {one.switched_ms} ms | {one.rss_kib} KiB | {one.descriptors} | "
            f"{one.tasks} | {one.durable} | {one.durable_lost} | {one.answered} | {failed} |"
        )
    first, last = found[0], found[-1]
    ends = " and ".join(
        f"{one.rss_kib} KiB, {one.descriptors} descriptors, {one.tasks} tasks after {one.failover}"
        for one in (first, last)
    )
    durable, lost = sum(one.durable for one in found), sum(one.durable_lost for one in found)
    lines += ["", f"{ends}. Writes answered `durable: true`: {durable}, of which lost: {lost}."]
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Failovers in a row: memory, descriptors, lost durable writes.")
    parser.add_argument("count", type=int, nargs="?", default=20)
    count = parser.parse_args().count
    cluster = SentinelCluster.start()
    try:
        found = asyncio.run(measured(cluster, count))
    finally:
        cluster.stop()
    write_result("failovers", "Failovers in a row", f"python -m bench.failovers {count}", table(found), found)


if __name__ == "__main__":
    main()
