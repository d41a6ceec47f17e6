"""Tags of the cache: the cost of invalidating one that few or many entries carry, and the memory of a million of them.

    python -m bench.cache_tags

First two servers of our own get 1,000 and 1,000,000 entries with one tag, and calls that invalidate it take turns. Then
a million distinct tags are invalidated while entries live 60 s and 100 reads come each second, in real time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import hiredis
from msgspec import Struct

from bench.machine import write_result
from bench.open_loop import running
from tollhouse import scripts
from tollhouse.cache.cache import Cache
from tollhouse.cache.key_names import KeyNames
from tollhouse.keyring import Keyring
from tollhouse.keys import PREFIX
from tollhouse.metrics import Metrics
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.stores.opening import open_stores
from tollhouse.stores.transport.connection import encode as packed
from tollhouse.stores.urls import urls_by_store
from tollhouse.wiring import embedded_binary

FEW = 1_000
TAG = "everyone"
CALLS = 2_000
WARM = 200
LIFETIME_S = 60
READS_S = 100
KEYS_READ = 2_000
TAGS_A_CALL = 1_000
BATCH = 5_000
KEYRING = Keyring(secrets=(b"a secret for benchmarks, of 32 bytes or more",))


class Invalidation(Struct, frozen=True, kw_only=True):
    """The time of calls that invalidate one tag; `first_us` is the call that hides the entries."""

    entries: int
    first_us: float
    median_us: float
    p99_us: float
    scans: int


class Moment(Struct, frozen=True, kw_only=True):
    """The state of the clock so many seconds after the last tag was invalidated."""

    after_s: int
    marks: int
    clock_bytes: int
    reads: int
    slowest_ms: float


class Bench:
    """A server of its own with a cache on it."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.stores = open_stores(urls_by_store(f"unix://{server.socket_path}", {}), scripts.load(), Metrics())
        self.cache = Cache(self.stores.cache, KEYRING, Metrics(), ttl_ms=LIFETIME_S * 1000)
        self.names = KeyNames(KEYRING, PREFIX)

    async def command(self, *parts: str | int) -> Any:
        """Send a plain command to the server."""
        return await self.stores.cache.command(*parts)

    async def scans(self) -> int:
        """Return how many walks over the keys the server has run."""
        stats = await self.stores.cache.info("commandstats")
        return sum(
            int(stats[name].split(",")[0].split("=")[1]) for name in ("cmdstat_scan", "cmdstat_keys") if name in stats
        )


@asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    """Start a server, and stop it at the end."""
    bench = Bench(EmbeddedServer.start(binary=embedded_binary()))
    try:
        await bench.command("PING")
        yield bench
    finally:
        await bench.cache.aclose()
        await bench.stores.aclose()
        bench.server.stop()


async def store(bench: Bench, entries: int) -> None:
    """Store entries that carry the tag, as fills would; the first by a fill, the rest in bulk."""

    async def load() -> str:
        return "value"

    await bench.cache.get_or_load("0", load, ttl_s=3_600, tags=[TAG])
    name = bench.names.entries("0")[0].entry
    filled = await bench.command("GET", name)
    await asyncio.to_thread(_send, bench, _copies(bench.names, bytes(filled), entries))


def _copies(names: KeyNames, filled: bytes, entries: int) -> Iterator[bytes]:
    for number in range(1, entries):
        yield packed("SET", names.entries(str(number))[0].entry, filled, "PX", 3_600_000)


def _send(bench: Bench, commands: Iterator[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(str(bench.server.socket_path))
        select = urls_by_store(f"unix://{bench.server.socket_path}", {})["cache"].db
        replies = hiredis.Reader()
        commands = itertools.chain([packed("SELECT", select)], commands)
        while batch := list(itertools.islice(commands, BATCH)):
            link.sendall(b"".join(batch))
            answered = 0
            while answered < len(batch):
                replies.feed(link.recv(65_536))
                while replies.gets() is not False:
                    answered += 1


async def invalidations(entries: int) -> tuple[Invalidation, Invalidation]:
    """Invalidate a tag of few and of many entries, in turn."""
    async with opened() as few, opened() as many:
        found: dict[int, list[float]] = {}
        for bench, count in ((few, FEW), (many, entries)):
            await store(bench, count)
            assert await bench.command("DBSIZE") >= count
            for number in range(WARM):
                await bench.cache.invalidate_tags(f"another:{number}")
            found[count] = []
        for _ in range(CALLS):
            for bench, count in ((few, FEW), (many, entries)):
                began_s = time.perf_counter()
                await bench.cache.invalidate_tags(TAG)
                found[count].append((time.perf_counter() - began_s) * 1e6)
        few_found, many_found = [
            Invalidation(
                entries=count,
                first_us=found[count][0],
                median_us=statistics.median(found[count]),
                p99_us=statistics.quantiles(found[count], n=100)[-1],
                scans=await bench.scans(),
            )
            for bench, count in ((few, FEW), (many, entries))
        ]
        await _assert_hidden(many, entries)
    return few_found, many_found


async def _assert_hidden(bench: Bench, entries: int) -> None:
    async def load() -> str:
        return "new"

    for number in random.sample(range(entries), 1_000):
        assert (await bench.cache.fetch(str(number), load, tags=[TAG])).value == "new"


class Reading:
    """An open loop of reads of entries that live a minute."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.reads = 0
        self.slowest_s = 0.0

    def running(self) -> AbstractAsyncContextManager[None]:
        """Read while the block runs."""
        return running(self._read, 1 / READS_S)

    async def _read(self) -> None:
        key = f"read:{random.randrange(KEYS_READ)}"

        async def load() -> str:
            return "value"

        began_s = time.perf_counter()
        await self._cache.get_or_load(key, load, ttl_s=LIFETIME_S, tags=[key])
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)
        self.reads += 1


async def forgetting(tags: int, settle_s: int, every_s: int = 10) -> tuple[float, list[Moment]]:
    """Invalidate distinct tags, then watch the clock; return how long the invalidations took, and what was seen."""
    async with opened() as bench:
        reading = Reading(bench.cache)
        async with reading.running():
            await asyncio.sleep(every_s)
            began_s = time.monotonic()
            for first in range(0, tags, TAGS_A_CALL):
                await bench.cache.invalidate_tags(*(f"tag:{n}" for n in range(first, min(first + TAGS_A_CALL, tags))))
            took_s = time.monotonic() - began_s
            ended_s, found = time.monotonic(), []
            for after_s in range(0, settle_s + 1, every_s):
                await asyncio.sleep(max(ended_s + after_s - time.monotonic(), 0))
                found.append(await _moment(bench, reading, after_s))
                print(found[-1], flush=True)
    return took_s, found


async def _moment(bench: Bench, reading: Reading, after_s: int) -> Moment:
    clock = bench.names.clock
    moment = Moment(
        after_s=after_s,
        marks=await bench.command("HLEN", clock),
        clock_bytes=await bench.command("MEMORY", "USAGE", clock, "SAMPLES", 100),
        reads=reading.reads,
        slowest_ms=round(reading.slowest_s * 1000, 1),
    )
    reading.reads, reading.slowest_s = 0, 0.0
    return moment


def table(few: Invalidation, many: Invalidation, tags: int, took_s: float, moments: list[Moment]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| entries with the tag | first call, µs | median, µs | p99, µs | SCAN and KEYS |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.entries:,} | {one.first_us:.0f} | {one.median_us:.0f} | {one.p99_us:.0f} | {one.scans} |"
        for one in (few, many)
    ]
    ratio = many.median_us / few.median_us
    lines += ["", f"Ratio of the medians: {ratio:.2f}. Calls on the two servers take turns.", ""]
    lines += [
        f"{tags:,} distinct tags were invalidated in {took_s:.1f} s, {TAGS_A_CALL:,} a call, under {READS_S} reads"
    ]
    lines += [f"a second of entries that live {LIFETIME_S} s:", ""]
    lines += ["| after, s | fields of the clock | its bytes | reads | slowest read, ms |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.after_s} | {one.marks:,} | {one.clock_bytes:,} | {one.reads:,} | {one.slowest_ms} |" for one in moments
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--tags", type=int, default=1_000_000)
    parser.add_argument("--settle-s", type=int, default=120)
    options = parser.parse_args()
    few, many = asyncio.run(invalidations(options.entries))
    took_s, moments = asyncio.run(forgetting(options.tags, options.settle_s))
    write_result(
        "cache-tags",
        "Tags of the cache",
        f"python -m bench.cache_tags --entries {options.entries} --tags {options.tags} --settle-s {options.settle_s}",
        table(few, many, options.tags, took_s, moments),
        {"few": few, "many": many, "tags": options.tags, "invalidated_s": took_s, "moments": moments},
    )


if __name__ == "__main__":
    main()
