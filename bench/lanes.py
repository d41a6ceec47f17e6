"""Script calls per second: a store and its one connection beside redis-py's pools, on one server, in one run.

    python -m bench.lanes            (or `make bench`)

Rounds of all clients take turns, so that whatever else the machine does falls on all of them. Each worker sends its
next call when it has the answer to the last one; so many workers are the concurrency. `return 1` is the least that a
script call can cost; `limits/take` is a real one, each call on a subject of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles

import redis.asyncio as redis
from msgspec import Struct

from bench.machine import write_result
from tollhouse import scripts
from tollhouse.metrics import Metrics
from tollhouse.scripts import Script
from tollhouse.stores.discovery.locator import StaticLocator
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.stores.store import Store
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import StoreUrl, UnixAddress

CONCURRENCIES = (1, 50, 200)
ROUNDS = 5
ROUND_S = 0.6
BAR = 3.0
"""How many times redis-py's default pool a store has to carry at concurrency 50."""
POOL = "redis-py pool"
TAKE = (1, "sliding-window", 1, 1000, 3_600_000, 60, 1, 1)
SUBJECTS = 10_000

Call = Callable[[], Awaitable[object]]


class Workloads(Struct, frozen=True, kw_only=True):
    """One client, and its two kinds of call."""

    client: str
    one: Call
    take: Call


class Figure(Struct, frozen=True, kw_only=True):
    """Calls per second in the median round and at the extremes; latencies are medians of the rounds' own.

    `times_pool` is the median over the rounds of what redis-py's pool did just before or after, so many times.
    """

    client: str
    workload: str
    concurrency: int
    calls_per_s: int
    lowest: int
    highest: int
    times_pool: float
    p50_us: int
    p99_us: int


class Round(Struct, frozen=True, kw_only=True):
    """The figures of one round."""

    calls_per_s: float
    p50_us: float
    p99_us: float


def script(name: str, text: str) -> Script:
    """Return a script that is no file of ours."""
    return Script(name=name, text=text, plain=text, sha=scripts._sha1(text), idempotent=True)


@contextlib.asynccontextmanager
async def clients(path: Path) -> AsyncIterator[list[Workloads]]:
    """Yield every client, connected."""
    ours = {"bench/one": script("bench/one", "#!lua flags=no-writes\nreturn 1"), **scripts.load()}
    one, take = ours["bench/one"], ours["limits/take"]
    numbers = itertools.count()

    def key() -> str:
        return f"tollhouse:rate:{{{next(numbers) % SUBJECTS}}}:bench"

    async def locate() -> UnixAddress:
        return UnixAddress(path=str(path))

    async with contextlib.AsyncExitStack() as stack:
        store = Store(
            "limits",
            StoreUrl(target=UnixAddress(path=str(path)), db=1),
            StaticLocator(locate, Login()),
            ours,
            Metrics(),
        )
        stack.push_async_callback(store.aclose)
        await store.ping()
        lane, _ = await Dialer().dial(UnixAddress(path=str(path)), on_lost=lambda: None)
        stack.push_async_callback(lane.aclose)
        pools = {
            # Its default of 100 connections makes the 101st caller fail, which would be no measurement.
            POOL: redis.ConnectionPool.from_url(f"unix://{path}?db=1", max_connections=max(CONCURRENCIES)),
            "redis-py blocking pool (50)": redis.BlockingConnectionPool.from_url(
                f"unix://{path}?db=1", max_connections=50, timeout=None
            ),
        }
        found = [
            Workloads(
                client="store",
                one=lambda: store.run("bench/one", (), ()),
                take=lambda: store.run("limits/take", (key(),), TAKE),
            ),
            Workloads(client="lane alone", one=_on(lane, one, None), take=_on(lane, take, key)),
        ]
        for name, pool in pools.items():
            client = redis.Redis(connection_pool=pool)
            stack.push_async_callback(client.aclose)
            stack.push_async_callback(pool.aclose)
            for needed in (one, take):
                await client.script_load(needed.text)
            found.append(_through(name, client, one, take, key))
        yield found


def _on(lane: Connection, wanted: Script, key: Callable[[], str] | None) -> Call:
    loop = asyncio.get_running_loop()

    def call() -> Awaitable[object]:
        parts = (0, 0) if key is None else (1, key(), 0, *TAKE)
        return lane.send(encode("EVALSHA", wanted.sha, *parts), loop.time() + 1)

    return call


def _through(name: str, client: redis.Redis, one: Script, take: Script, key: Callable[[], str]) -> Workloads:
    return Workloads(
        client=name,
        one=lambda: client.evalsha(one.sha, 0, 0),
        take=lambda: client.evalsha(take.sha, 1, key(), 0, *TAKE),
    )


async def one_round(call: Call, concurrency: int, seconds: float) -> Round:
    """Run so many workers as `concurrency` says, which call for the duration of a round."""
    waits_s: list[float] = []
    end_s = time.perf_counter() + seconds

    async def work() -> None:
        while (began_s := time.perf_counter()) < end_s:
            await call()
            waits_s.append(time.perf_counter() - began_s)

    gc.collect()
    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    took_s = time.perf_counter() - began_s
    cuts = quantiles(waits_s, n=100)
    return Round(calls_per_s=len(waits_s) / took_s, p50_us=cuts[49] * 1e6, p99_us=cuts[98] * 1e6)


async def measured(path: Path, rounds: int, seconds: float) -> list[Figure]:
    """Measure every client, workload and concurrency; rounds of all clients take turns."""
    figures: list[Figure] = []
    async with clients(path) as found:
        for workload, concurrency in itertools.product(("one", "take"), CONCURRENCIES):
            for each in found:
                await one_round(getattr(each, workload), concurrency, 0.1)
            taken: dict[str, list[Round]] = {each.client: [] for each in found}
            for _ in range(rounds):
                for each in found:
                    taken[each.client].append(await one_round(getattr(each, workload), concurrency, seconds))
            pool = taken[POOL]
            figures += [_figure(client, workload, concurrency, several, pool) for client, several in taken.items()]
    return figures


def _figure(client: str, workload: str, concurrency: int, rounds: list[Round], pool: list[Round]) -> Figure:
    rates = [one.calls_per_s for one in rounds]
    return Figure(
        client=client,
        workload=workload,
        concurrency=concurrency,
        calls_per_s=round(median(rates)),
        lowest=round(min(rates)),
        highest=round(max(rates)),
        times_pool=round(median(one.calls_per_s / its.calls_per_s for one, its in zip(rounds, pool, strict=True)), 2),
        p50_us=round(median(one.p50_us for one in rounds)),
        p99_us=round(median(one.p99_us for one in rounds)),
    )


def table(figures: list[Figure]) -> str:
    """Return the figures as Markdown, each beside redis-py's default pool."""
    lines = [
        "| script | concurrency | client | calls/s (median) | lowest to highest | x redis-py pool | p50 | p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = {"one": "`return 1`", "take": "`limits/take`"}
    lines += [
        f"| {names[one.workload]} | {one.concurrency} | {one.client} | {one.calls_per_s:,} | "
        f"{one.lowest:,} to {one.highest:,} | {one.times_pool:.2f} | {one.p50_us:,} µs | {one.p99_us:,} µs |"
        for one in figures
    ]
    verdicts = [
        f"{names[one.workload]}: {one.times_pool:.2f}"
        for one in figures
        if one.client == "store" and one.concurrency == 50
    ]
    return "\n".join(
        [*lines, "", f"Store beside redis-py's pool at concurrency 50 (the bar is {BAR:g}): " + ", ".join(verdicts)]
    )


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Script calls per second, beside redis-py's pools.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop, as `tollhouse serve` does")
    options = parser.parse_args()
    server = EmbeddedServer.start()
    try:
        with asyncio.Runner(loop_factory=_uvloop if options.uvloop else None) as runner:
            figures = runner.run(measured(server.socket_path, options.rounds, options.seconds))
    finally:
        server.stop()
    name = "lanes-uvloop" if options.uvloop else "lanes"
    command = "python -m bench." + "lanes" + (" --uvloop" if options.uvloop else "")
    title = "Script calls per second" + (" on uvloop" if options.uvloop else " on asyncio's own loop")
    write_result(name, title, command, table(figures), figures)


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()
