"""One key under one limit, taken from by several processes as fast as they can: how many each lets through, and when.

Every admission is logged with the monotonic time before and after its call, which all processes of a machine share. So
the fullest second can be found to the nanosecond, whatever the store says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Sequence

import uvloop
from msgspec import Struct

import tollhouse
from bench.admissions import fullest
from tollhouse.limits.limiter import Limiter
from tollhouse.settings.model import LimitSettings, PolicySettings, Settings

UNITS = 100_000
"""The limit, in a second."""
CALLERS = 50
"""Callers in each process."""
SECOND_NS = 1_000_000_000
START_NS = 50_000_000
"""How long before a round its workers hear of it."""
_TURN = 100
"""Decisions of a caller until it lets the others of its process go on."""


class SharedRound(Struct, frozen=True, kw_only=True):
    """What all processes did in one round: decisions and admissions a second, and admissions of the fullest second."""

    decisions_per_s: float
    admitted_per_s: float
    fullest_second: int


class Worker:
    """A process that takes when it is told to."""

    def __init__(self, url: str, policy: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.shared_limit", url, policy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._told, self._heard = self._process.stdin, self._process.stdout
        self._heard.readline()

    def begin(self, key: str, start_ns: int, end_ns: int) -> None:
        """Send it word to take units of a key from one moment to another."""
        self._told.write(f"{key} {start_ns} {end_ns}\n".encode())
        self._told.flush()

    def log(self) -> tuple[int, Iterator[tuple[int, int]]]:
        """Return how many decisions it got, and when the takes that were admitted began and ended."""
        decisions, admitted = map(int, self._heard.readline().split())
        times = array("q", self._heard.read(16 * admitted))
        return decisions, zip(times[::2], times[1::2], strict=True)

    def close(self) -> None:
        self._told.close()
        self._process.wait()
        self._heard.close()


@contextlib.contextmanager
def workers(url: str, policy: str, processes: int) -> Iterator[list[Worker]]:
    """Yield so many processes that take under a policy, connected to the server at this URL."""
    with contextlib.ExitStack() as stack:
        started = [Worker(url, policy) for _ in range(processes)]
        for one in started:
            stack.callback(one.close)
        yield started


def shared_round(several: Sequence[Worker], key: str, seconds: float) -> SharedRound:
    """Return what all of them did with a key that is new to the store."""
    start_ns = time.monotonic_ns() + START_NS
    for one in several:
        one.begin(key, start_ns, start_ns + int(seconds * SECOND_NS))
    logs = [one.log() for one in several]
    calls = [call for _, admitted in logs for call in admitted]
    return SharedRound(
        decisions_per_s=sum(decisions for decisions, _ in logs) / seconds,
        admitted_per_s=len(calls) / seconds,
        fullest_second=fullest(calls, SECOND_NS),
    )


async def _work(limiter: Limiter, policy: str, key: str, end_ns: int, log: array[int]) -> int:
    """Take until a moment, and log what was admitted; return the number of decisions."""
    decisions, now_ns = 0, time.monotonic_ns
    while (began_ns := now_ns()) < end_ns:
        decision = await limiter.take(policy, key)
        if decision.degraded:
            raise RuntimeError("the store did not decide")
        decisions += 1
        if decision.allowed:
            log.extend((began_ns, now_ns()))
        if not decision.allowed or decisions % _TURN == 0:
            await asyncio.sleep(0)
    return decisions


async def _serve(url: str, policy: str) -> None:
    """Take when a line of standard input says so, and write the log of each round."""
    policies = {
        "asked": PolicySettings(limit=f"{UNITS}/second"),
        "leased": PolicySettings(limit=f"{UNITS}/second", lease="auto"),
    }
    loop = asyncio.get_running_loop()
    async with tollhouse.open(Settings(url=url, limits=LimitSettings(policies=policies))) as th:
        await th.limits.take(policy, "warm up")
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.flush()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            key, start_ns, end_ns = line.split()
            gc.collect()
            await asyncio.sleep((int(start_ns) - time.monotonic_ns()) / SECOND_NS)
            log = array("q")
            counts = await asyncio.gather(*(_work(th.limits, policy, key, int(end_ns), log) for _ in range(CALLERS)))
            sys.stdout.buffer.write(f"{sum(counts)} {len(log) // 2}\n".encode() + log.tobytes())
            sys.stdout.flush()


def main() -> None:
    """Serve as one of the processes."""
    parser = argparse.ArgumentParser(description="One of the processes of `bench.hot_keys`.")
    parser.add_argument("url")
    parser.add_argument("policy")
    options = parser.parse_args()
    uvloop.run(_serve(options.url, options.policy))


if __name__ == "__main__":
    main()
