"""The faults: how each is injected, what it corresponds to in real life, and what a client must show.

The cancel storm stands for users who close their browsers: calls are started, left alone for a random number of
iterations of the event loop, and cancelled. Only real cancellations count; a call that was answered first is checked
like any other.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import CallResult, DrillClient
from tollhouse.drill.results.history import OnMark, Operation
from tollhouse.drill.results.metrics import StormResult
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.embedded.sentinel_config import SERVICE

STOPPED_S: Final = 10.0
"""How long `sigstop` stops the primary."""
FLUSH_S: Final = 0.1
_AT_A_TIME: Final = 50
"""Calls of the storm at a time: fewer than the default pool of redis-py, which would refuse the rest."""
_TURNS_MAX: Final = 12
_SESSION: Final = "create-storm-0"
_MIX: Final[tuple[Operation, ...]] = ("take", "take", "take", "take", "hot", "create", "verify", "put")


class Extent(Struct, frozen=True, kw_only=True):
    """How long and how much a round does: `after_s` replaces how long each fault is observed, if it is not None.

    A storm ends after `storm_s` even if it falls short; `settle_s` is how long the servers may take to agree again.
    """

    before_s: float = 2.0
    after_s: float | None = None
    settle_s: float = 30.0
    kill_every_s: float = 1.0
    cancellations: int = 100_000
    storm_s: float = 60.0


DEFAULT: Final = Extent()


class FaultContext(Struct, frozen=True, kw_only=True):
    """What a fault works on; a fault that repeats itself does so until `over` is set."""

    cluster: SentinelCluster
    primary: Node
    client: DrillClient
    record: OnMark
    over: asyncio.Event
    extent: Extent
    seed: int


class Fault(Struct, frozen=True, kw_only=True):
    """One fault: `does` and `shows` explain it; the workload goes on for `after_s`.

    `failovers` is how many it must cause; `steady` says that every connection should stay.
    """

    name: str
    does: str
    shows: str
    after_s: float
    failovers: int
    apply: Callable[[FaultContext], Awaitable[StormResult | None]]
    steady: bool = False


async def _kill(context: FaultContext) -> None:
    os.kill(context.primary.pid, signal.SIGKILL)
    context.record("fault", context.primary.name, "kill -9")


async def _stop(context: FaultContext) -> None:
    os.kill(context.primary.pid, signal.SIGSTOP)
    context.record("fault", context.primary.name, "SIGSTOP")
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        os.kill(context.primary.pid, signal.SIGCONT)
        context.record("healed", context.primary.name, "SIGCONT")


async def _fail_over(context: FaultContext, *options: str) -> None:
    context.record("fault", context.primary.name, " ".join(("SENTINEL FAILOVER", *options)))
    sentinel = context.cluster.sentinels[0]
    await asyncio.to_thread(context.cluster.call, sentinel, "SENTINEL", "FAILOVER", SERVICE, *options)


async def _repeat(context: FaultContext, pause_s: float, *command: str) -> None:
    """Send a command to the primary every `pause_s`, until the fault is over."""
    context.record("fault", context.primary.name, f"{' '.join(command)} every {pause_s:g} s")
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(context.over.wait(), pause_s)
            return
        await asyncio.to_thread(context.cluster.call, context.primary, *command)


async def _storm(context: FaultContext) -> StormResult:
    context.record("fault", "client", "cancellations")
    storm = Storm(context.client, context.extent.cancellations, seed=context.seed)
    result = await storm.run(within_s=context.extent.storm_s)
    context.record("healed", "client", f"{result.cancelled} cancelled")
    return result


class Storm:
    """Starts calls of a client and cancels them."""

    def __init__(self, client: DrillClient, cancellations: int, *, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)  # noqa: S311 - a storm that can be repeated, no secret
        self._wanted = cancellations
        self._started = 0
        self._cancelled = self._failed = self._foreign = 0

    async def run(self, *, within_s: float) -> StormResult:
        """Start and cancel calls until enough were cancelled, or the time is over."""
        await self._client.call("create", _SESSION)
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + within_s
        while self._cancelled < self._wanted and loop.time() < give_up_s:
            await self._wave(min(_AT_A_TIME, self._wanted - self._cancelled))
        missing = self._wanted - self._cancelled
        return StormResult(cancelled=self._cancelled, missing=missing, failed=self._failed, foreign=self._foreign)

    async def _wave(self, size: int) -> None:
        tasks = [asyncio.get_running_loop().create_task(self._client.call(*self._next())) for _ in range(size)]
        turns = [self._random.randint(1, _TURNS_MAX) for _ in tasks]
        for turn in range(1, _TURNS_MAX + 1):
            await asyncio.sleep(0)
            for task, cancel_at in zip(tasks, turns, strict=True):
                if cancel_at == turn:
                    task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            self._count(task)

    def _next(self) -> tuple[Operation, str]:
        self._started += 1
        operation = self._random.choice(_MIX)
        return operation, _SESSION if operation == "verify" else f"{operation}-storm-{self._started}"

    def _count(self, task: asyncio.Task[CallResult]) -> None:
        if task.cancelled():
            self._cancelled += 1
        elif task.exception() is not None:
            self._failed += 1
        else:
            self._foreign += task.result().foreign


_ALL: Final = (
    Fault(
        name="kill9",
        does="kill -9 of the primary: the process is gone, and its connections are reset at once.",
        shows="an outage hardly longer than down-after-milliseconds, in which no call exceeds its deadline; of the "
        "acknowledged writes only the last, which no replica had yet, are lost, and no durable one",
        after_s=7.0,
        failovers=1,
        apply=_kill,
    ),
    Fault(
        name="sigstop",
        does=f"SIGSTOP of the primary, and SIGCONT after {STOPPED_S:g} s: it hangs, its connections stay open, and it "
        "comes back in the belief that it is the primary.",
        shows="calls end at their deadline, the client goes to the new primary, and ignores every later reply of the "
        "old one",
        after_s=STOPPED_S + 4.0,
        failovers=1,
        apply=_stop,
    ),
    Fault(
        name="forced",
        does="SENTINEL FAILOVER of a healthy primary: it accepts writes for some ten seconds more, and loses all of "
        "them when it becomes a replica.",
        shows="the client leaves the old primary as soon as the new one is promoted: a few milliseconds of plain "
        "writes are lost, durable ones are not, and no user sees an error",
        after_s=14.0,
        failovers=1,
        apply=_fail_over,
    ),
    Fault(
        name="coordinated",
        does="SENTINEL FAILOVER … COORDINATED: the primary pauses writes, hands over, and becomes a replica itself.",
        shows="nothing is lost and no user sees an error: calls wait during the hand-over",
        after_s=5.0,
        failovers=1,
        apply=lambda context: _fail_over(context, "COORDINATED"),
    ),
    Fault(
        name="script-flush",
        does=f"SCRIPT FLUSH on the primary every {FLUSH_S * 1000:g} ms: it forgets the Lua scripts.",
        shows="no user sees an error: the client sends the missing script again",
        after_s=5.0,
        failovers=0,
        apply=lambda context: _repeat(context, FLUSH_S, "SCRIPT", "FLUSH"),
        steady=True,
    ),
    Fault(
        name="cancel-storm",
        does=f"{DEFAULT.cancellations:,} calls that are cancelled at random moments, beside the workload.",
        shows="no reply reaches another caller, no slot leaks, and no connection is closed",
        after_s=8.0,
        failovers=0,
        apply=_storm,
        steady=True,
    ),
    Fault(
        name="client-kill",
        does=f"CLIENT KILL TYPE normal on the primary every {DEFAULT.kill_every_s:g} s: all connections end, the "
        "server stays up.",
        shows="the client reconnects at once: no acknowledged write is lost, and a call fails only if it was in flight "
        "and must not be repeated",
        after_s=5.0,
        failovers=0,
        apply=lambda context: _repeat(context, context.extent.kill_every_s, "CLIENT", "KILL", "TYPE", "normal"),
    ),
)
FAULTS: Final[Mapping[str, Fault]] = MappingProxyType({fault.name: fault for fault in _ALL})
"""Every fault by its name, in the order in which a drill injects them."""
