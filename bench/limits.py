"""Takes per second: Tollhouse beside the Python peers, on one Valkey, over one kind of socket, in one run.

    python -m bench.limits            (or `make bench`)

Each worker takes a unit of the next of 10,000 subjects when it has the answer for the last one; so many workers are the
concurrency. All takes are admitted, and each limiter has to show first that it would refuse. Rounds take turns. All run
on uvloop, as under uvicorn, unless `--asyncio` says otherwise.

One take at a time is measured twice: free, and with this process and the server on one core, so that neither waits for
a sleeping core to wake up, and what is measured is the work of both.

How fast a refusal of a hot key is, is measured apart: a key that the store has refused is answered in the process.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvloop

import tollhouse
from bench.contender import SUBJECTS, Contender, check
from bench.cores import pinned, shared_out
from bench.limits_report import Memory, Refused, Report, chart, document, reported
from bench.machine import RESULTS, write_result
from bench.ours import LIBRARY, ours
from bench.peers import peers
from bench.race import Figure, Runner, raced
from bench.rounds import spread
from bench.server import Observer
from tollhouse.stores.embedded.server import EmbeddedServer

CONCURRENCIES = (1, 50, 1000)
ROUNDS = 7
ROUND_S = 0.4
WARM_UP_S = 0.3
CONNECTING_S = 1.0
"""How long a thousand connections may take to open, beyond the warm-up."""
TAKES = 100
"""The bytes of a subject are counted after its first take, and after this many."""
HOT_KEYS = 100
HOT_TAKES = 1_000
"""Refusals between two readings of the clock."""


@asynccontextmanager
async def everybody(server: EmbeddedServer, concurrency: int) -> AsyncIterator[list[Contender]]:
    """Yield Tollhouse and all peers, connected to the server."""
    async with ours(server.url) as own, peers(server.socket_path, concurrency) as others:
        yield [*own, *others]


async def measured(server: EmbeddedServer, rounds: int, seconds: float) -> Report:
    """Measure all of it, one race after the other."""
    observer = Observer(server.socket_path)
    try:
        with _on_one_core(observer.pid):
            one_core = await _race(server, observer, 1, rounds, seconds)
        figures: list[Figure] = []
        for concurrency in CONCURRENCIES:
            figures += await _race(server, observer, concurrency, rounds, seconds)
        async with everybody(server, 1) as contenders:
            memory = [await _memory(one, observer) for one in contenders]
        refused = await _refused(server.url, observer, rounds, seconds)
        return reported(figures, one_core, memory, refused)
    finally:
        observer.close()


@contextmanager
def _on_one_core(pid: int) -> Iterator[None]:
    """Keep this process and the main thread of the server to one core meanwhile."""
    core, before = {shared_out().load}, os.sched_getaffinity(pid)
    with pinned(core):
        os.sched_setaffinity(pid, core)
        try:
            yield
        finally:
            os.sched_setaffinity(pid, before)


async def _race(
    server: EmbeddedServer, observer: Observer, concurrency: int, rounds: int, seconds: float
) -> list[Figure]:
    print(f"Concurrency {concurrency} …", flush=True)
    observer.clear()
    async with everybody(server, concurrency) as contenders:
        for one in contenders:
            await check(one)
            if one.fill is not None:
                await one.fill(SUBJECTS)
        warm_up_s = WARM_UP_S + CONNECTING_S * concurrency / 1000
        return await raced([_runner(one) for one in contenders], observer, concurrency, rounds, seconds, warm_up_s)


def _runner(contender: Contender) -> Runner:
    ask, turn = contender.ask, itertools.cycle(SUBJECTS)
    return Runner(
        library=contender.library,
        variant=contender.algorithm,
        call=lambda: ask(next(turn)),
        right=contender.admitted,
        commands=contender.commands,
        own=contender.library == LIBRARY,
    )


async def _memory(contender: Contender, observer: Observer) -> Memory:
    """Return the bytes of one subject, alone in the server."""
    observer.clear()
    if contender.fill is not None:
        await contender.fill(SUBJECTS[:1])
    counts: list[int] = []
    for takes in (1, TAKES - 1):
        for _ in range(takes):
            assert contender.admitted(await contender.ask(SUBJECTS[0]))
        counts.append(observer.data_bytes())
    return Memory(
        library=contender.library, algorithm=contender.algorithm, first_bytes=counts[0], later_bytes=counts[1]
    )


async def _refused(url: str, observer: Observer, rounds: int, seconds: float) -> Refused:
    """Take from exhausted keys again and again; the event loop runs in between, as in a service."""
    keys = [f"hot-{number}" for number in range(HOT_KEYS)]
    async with tollhouse.open(url, policies={"hot": "1/hour"}) as th:
        for key in keys * 2:
            await th.limits.take("hot", key)
        rates: list[float] = []
        calls = observer.calls("evalsha")
        for _ in range(rounds):
            asked, began_s = itertools.cycle(keys), time.perf_counter()
            count = 0
            while (took_s := time.perf_counter() - began_s) < seconds:
                for key in itertools.islice(asked, HOT_TAKES):
                    assert not (await th.limits.take("hot", key)).allowed
                count += HOT_TAKES
                await asyncio.sleep(0)
            rates.append(count / took_s)
    return Refused(keys=HOT_KEYS, per_s=spread(rates), calls=observer.calls("evalsha") - calls)


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description="Takes per second, beside the Python peers.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=ROUND_S)
    parser.add_argument("--asyncio", action="store_true", help="run on asyncio's own loop")
    options = parser.parse_args()
    server = EmbeddedServer.start()
    try:
        with asyncio.Runner(loop_factory=None if options.asyncio else uvloop.new_event_loop) as runner:
            report = runner.run(measured(server, options.rounds, options.seconds))
    finally:
        server.stop()
    name = "limits-asyncio" if options.asyncio else "limits"
    title = "Takes per second" + (" on asyncio's own loop" if options.asyncio else "")
    command = "python -m bench.limits" + (" --asyncio" if options.asyncio else "")
    write_result(name, title, command, document(report), report)
    (RESULTS / f"{name}.svg").write_text(chart(title, report))


if __name__ == "__main__":
    main()
