"""Cold callers of one key over several processes: how many loads run, and how long all of them wait.

    python -m bench.cold_callers

A thousand callers in four processes ask for one key at the same moment, and its loader takes 0.3 s. Then the same
with a server that is full, and with a value above the bound of an entry: neither can be stored. At last the process
that holds the lease is killed just after it has renewed it, while another waits for the key.

| scenario      | what has to hold                                                           |
|---------------|----------------------------------------------------------------------------|
| `cold`        | one load                                                                   |
| `full server` | one load in each process at most                                           |
| `large value` | one load in each process at most                                           |
| `killed`      | the second load begins within the lease and 0.1 s after the first one died |
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import Struct

import tollhouse
from bench.machine import write_result
from tollhouse.cache.reading.loader import DEFAULT_BOUNDS
from tollhouse.settings import Settings
from tollhouse.stores.embedded.server import EmbeddedServer

PROCESSES: Final = 4
CALLERS: Final = 1_000
LOAD_S: Final = 0.3
START_S: Final = 5.0
"""How long the processes have to get ready: then all of them begin at once."""
LARGE_BYTES: Final = 2 * DEFAULT_BOUNDS.entry_bytes
RENEWED_S: Final = DEFAULT_BOUNDS.lease_ms / 3000
SECRET: Final = b"a secret of the benchmark, 32 bytes"
LOADS_MAX: Final = {"cold": 1, "full server": PROCESSES, "large value": PROCESSES}


class Part(Struct, frozen=True, kw_only=True):
    """The figures of one process; `begun_at` is when its first load began, by the clock of the machine."""

    loads: int
    answers: int
    slowest_ms: float
    begun_at: float | None


class Scenario(Struct, frozen=True, kw_only=True):
    """The figures of all processes together: the loads, the callers that were answered, and the longest wait."""

    scenario: str
    loads: int
    loads_max: int
    answers: int
    slowest_ms: float

    @property
    def holds(self) -> bool:
        """Whether there were no more loads than promised, and every caller was answered."""
        return self.loads <= self.loads_max and self.answers == CALLERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, and write them beside the other results; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="bench.cold_callers", description=__doc__.partition("\n")[0])
    parser.add_argument("--part", nargs=5, metavar=("URL", "KEY", "CALLERS", "BYTES", "AT"), help=argparse.SUPPRESS)
    parser.add_argument("--load-s", type=float, default=LOAD_S, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        url, key, callers, size, at = options.part
        part = asyncio.run(ask(url, key, int(callers), int(size), float(at), options.load_s))
        print(msgspec.json.encode(part).decode())
        return 0
    return report()


def report() -> int:
    """Measure all scenarios."""
    with served() as server:
        scenarios = [cold(server, "cold", 10), cold(server, "large value", LARGE_BYTES)]
        second_ms = killed(server)
        fill(server)
        scenarios.append(cold(server, "full server", 10))
    limit_ms = DEFAULT_BOUNDS.lease_ms + 100
    rows = [
        f"| {one.scenario} | {one.loads} | {one.loads_max} | {one.answers} | {one.slowest_ms:.0f} ms |"
        for one in scenarios
    ]
    table = "\n".join(
        [
            "| scenario | loads | promised at most | callers answered | the slowest of them |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"After the holder was killed the second load began in {second_ms:.0f} ms; promised: {limit_ms} ms.",
        ]
    )
    figures = {"scenarios": scenarios, "second_load_ms": second_ms, "promised_ms": limit_ms}
    title = f"{CALLERS:,} cold callers of one key over {PROCESSES} processes"
    write_result("cold-callers", title, "python -m bench.cold_callers", table, figures)
    return 0 if all(one.holds for one in scenarios) and second_ms <= limit_ms else 1


def cold(server: EmbeddedServer, scenario: str, size: int) -> Scenario:
    """Ask for one key from all processes at once."""
    at = time.time() + START_S
    each = CALLERS // PROCESSES
    running = [start(server, scenario, each, size, at) for _ in range(PROCESSES)]
    parts = [figures(process) for process in running]
    return Scenario(
        scenario=scenario,
        loads=sum(part.loads for part in parts),
        loads_max=LOADS_MAX[scenario],
        answers=sum(part.answers for part in parts),
        slowest_ms=max(part.slowest_ms for part in parts),
    )


def killed(server: EmbeddedServer) -> float:
    """Kill the process whose load has just renewed its lease; return after how many ms the next load began."""
    at = time.time() + START_S
    holder = start(server, "killed", 1, 10, at, load_s=60)
    waiter = start(server, "killed", 1, 10, at + 0.5)
    time.sleep(max(at + 2 * RENEWED_S + 0.1 - time.time(), 0))
    killed_at = time.time()
    holder.kill()
    holder.communicate()
    begun_at = figures(waiter).begun_at
    assert begun_at is not None
    return (begun_at - killed_at) * 1000


def fill(server: EmbeddedServer) -> None:
    """Leave the server no memory for another value."""

    async def configure() -> None:
        async with tollhouse.open(Settings(url=server.url, secret=(SECRET,))) as opened:
            for name, value in (("maxmemory-policy", "noeviction"), ("maxmemory", "1")):
                await opened.stores.cache.command("CONFIG", "SET", name, value)

    asyncio.run(configure())


def start(
    server: EmbeddedServer, key: str, callers: int, size: int, at: float, load_s: float = LOAD_S
) -> subprocess.Popen[bytes]:
    """Start a process that asks for a key at a time."""
    part = [server.url, key, str(callers), str(size), str(at)]
    command = [sys.executable, "-m", "bench.cold_callers", "--load-s", str(load_s), "--part", *part]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def figures(process: subprocess.Popen[bytes]) -> Part:
    """Return what a process has printed when it has ended."""
    printed, _ = process.communicate(timeout=120)
    return msgspec.json.decode(printed, type=Part)


async def ask(url: str, key: str, callers: int, size: int, at: float, load_s: float) -> Part:
    """Ask for a key with many callers at a time."""
    begun_at: list[float] = []
    value = random.Random(size).randbytes(size)  # which no compression makes smaller

    async def load() -> bytes:
        begun_at.append(time.time())
        await asyncio.sleep(load_s)
        return value

    async with tollhouse.open(Settings(url=url, secret=(SECRET,))) as opened:
        await opened.cache.fetch(f"{key}-{at}", _nothing)
        await asyncio.sleep(max(at - time.time(), 0))
        began_s = time.perf_counter()
        answers = await asyncio.gather(*(opened.cache.get_or_load(key, load) for _ in range(callers)))
        slowest_ms = (time.perf_counter() - began_s) * 1000
    return Part(
        loads=len(begun_at),
        answers=sum(len(answer) == size for answer in answers),
        slowest_ms=slowest_ms,
        begun_at=begun_at[0] if begun_at else None,
    )


async def _nothing() -> None:
    """Load None, so that the connection and the scripts are ready."""


@contextmanager
def served() -> Iterator[EmbeddedServer]:
    """Run a server for the time of a `with` block."""
    server = EmbeddedServer.start()
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
