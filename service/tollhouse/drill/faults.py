"""The faults: how each is injected, what it corresponds to in real life, and what a client must show.

A partition and a lag need links between the nodes that can be cut (`links`); the others break processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import DrillClient
from tollhouse.drill.links import CLIENTS, Links
from tollhouse.drill.results.history import OnMark
from tollhouse.drill.results.metrics import StormResult
from tollhouse.drill.storm import Storm
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.embedded.sentinel_config import SERVICE

STOPPED_S: Final = 10.0
"""How long `sigstop` stops the primary."""
FLUSH_S: Final = 0.1
PAIR_S: Final = 0.9
"""How long after a failover was ordered `twice` kills the new primary: Sentinel has not noticed its promotion yet."""
_LOOK_S: Final = 0.02


class Extent(Struct, frozen=True, kw_only=True):
    """How long and how much a round does: `after_s` replaces how long each fault is observed, if it is not None.

    A storm ends after `storm_s` even if it falls short; `settle_s` is how long the servers may take to agree again.
    `partition_s` is how long the primary and its clients are cut off, `lag_s` how long replicas get nothing until their
    primary is killed.
    """

    before_s: float = 2.0
    after_s: float | None = None
    settle_s: float = 30.0
    kill_every_s: float = 1.0
    cancellations: int = 100_000
    storm_s: float = 60.0
    partition_s: float = 5.0
    lag_s: float = 3.0


DEFAULT: Final = Extent()


class FaultContext(Struct, frozen=True, kw_only=True):
    """What a fault works on; a fault that repeats itself does so until `over` is set. `links` is what it may cut."""

    cluster: SentinelCluster
    links: Links | None
    primary: Node
    client: DrillClient
    record: OnMark
    over: asyncio.Event
    extent: Extent
    seed: int


class Fault(Struct, frozen=True, kw_only=True):
    """One fault: `does` and `shows` explain it; the workload goes on for `after_s`.

    `failovers` is how many it must cause; `steady` says that every connection should stay, `links` that it needs nodes
    that are connected by links of the drill.
    """

    name: str
    does: str
    shows: str
    after_s: float
    failovers: int
    apply: Callable[[FaultContext], Awaitable[StormResult | None]]
    steady: bool = False
    links: bool = False


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


async def _partition(context: FaultContext) -> None:
    assert context.links is not None
    context.links.separate((context.primary.address.host, context.cluster.sentinels[0].address.host, CLIENTS))
    context.record("fault", context.primary.name, "cut off with one Sentinel and all clients")
    try:
        await asyncio.sleep(context.extent.partition_s)
    finally:
        context.links.heal()
        context.record("healed", context.primary.name, "reaches the others again")


async def _lag(context: FaultContext) -> None:
    assert context.links is not None
    primary = context.primary.address.host
    replicas = [node.address.host for node in context.cluster.nodes if node != context.primary]
    context.links.rest(replicas, primary)
    context.record("fault", context.primary.name, "sends its replicas nothing")
    try:
        await asyncio.sleep(context.extent.lag_s)
    finally:
        os.kill(context.primary.pid, signal.SIGKILL)
        context.record("fault", context.primary.name, "kill -9")
        context.links.reset(replicas, primary)
        context.links.heal()


async def _fail_twice(context: FaultContext) -> None:
    await _fail_over(context)
    ordered_s = asyncio.get_running_loop().time()
    promoted = await asyncio.to_thread(_await_promotion, context.cluster, context.primary)
    await asyncio.sleep(ordered_s + PAIR_S - asyncio.get_running_loop().time())
    if promoted is not None:
        os.kill(promoted.pid, signal.SIGKILL)
        context.record("fault", promoted.name, "kill -9")


def _await_promotion(cluster: SentinelCluster, former: Node) -> Node | None:
    """Return the server that has become a primary beside the former one; None if none has in time."""
    give_up_s = time.monotonic() + PAIR_S
    while time.monotonic() < give_up_s:
        for node in cluster.nodes:
            if node != former and cluster.call(node, "ROLE")[0] == "master":
                return node
        time.sleep(_LOOK_S)
    return None


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
        name="twice",
        does=f"SENTINEL FAILOVER of a healthy primary, and kill -9 of the new one {PAIR_S:g} s after the order: no "
        "replica follows it yet, Sentinel has not noticed its promotion, and gives the failover up.",
        shows="what the second server took is lost with it, since no other has it; none of that was answered durable",
        after_s=8.0,
        failovers=2,
        apply=_fail_twice,
    ),
    Fault(
        name="partition",
        does=f"The primary, one Sentinel and all clients are cut off from both replicas and two Sentinels for "
        f"{DEFAULT.partition_s:g} s; the majority promotes a replica meanwhile.",
        shows="plain writes of that time are lost, since nothing on the clients' side knows of the new primary, and no "
        "durable ones; with max_unreplicated_ms only the writes of that bound are",
        after_s=DEFAULT.partition_s + 5.0,
        failovers=1,
        apply=_partition,
        links=True,
    ),
    Fault(
        name="lag",
        does=f"For {DEFAULT.lag_s:g} s the primary sends its replicas nothing; then it is killed, with what it had not "
        "sent.",
        shows="plain writes of that time are lost, and none that was answered durable; with max_unreplicated_ms only "
        "the writes of that bound are",
        after_s=DEFAULT.lag_s + 7.0,
        failovers=1,
        apply=_lag,
        links=True,
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
