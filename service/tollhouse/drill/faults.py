"""The faults: how each is done, what it is like in real life, and what it must show."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from tollhouse.drill import storm
from tollhouse.drill.clients.client import Client
from tollhouse.drill.results.history import Kind
from tollhouse.drill.storm import Storm, Stormed
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.embedded.sentinel_config import SERVICE

STOPPED_S: Final = 10.0
"""How long `sigstop` stops the primary."""
FLUSH_S: Final = 0.1
KILL_S: Final = 1.0

Note = Callable[[Kind, str, str], None]


class Scene(Struct, frozen=True, kw_only=True):
    """What a fault works on; those that repeat themselves do so until `over` is set."""

    topology: SentinelCluster
    primary: Node
    client: Client
    note: Note
    over: asyncio.Event
    seed: int


class Fault(Struct, frozen=True, kw_only=True):
    """One fault: `does` and `shows` explain it; the workload goes on for `after_s`.

    So many failovers belong to it; `steady` says that every connection should stay.
    """

    name: str
    does: str
    shows: str
    after_s: float
    failovers: int
    apply: Callable[[Scene], Awaitable[Stormed | None]]
    steady: bool = False


async def _kill(scene: Scene) -> None:
    os.kill(scene.primary.pid, signal.SIGKILL)
    scene.note("fault", scene.primary.name, "kill -9")


async def _stop(scene: Scene) -> None:
    os.kill(scene.primary.pid, signal.SIGSTOP)
    scene.note("fault", scene.primary.name, "SIGSTOP")
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        os.kill(scene.primary.pid, signal.SIGCONT)
        scene.note("healed", scene.primary.name, "SIGCONT")


async def _force(scene: Scene) -> None:
    await _fail_over(scene)


async def _coordinate(scene: Scene) -> None:
    await _fail_over(scene, "COORDINATED")


async def _fail_over(scene: Scene, *how: str) -> None:
    scene.note("fault", scene.primary.name, " ".join(("SENTINEL FAILOVER", *how)))
    await _ask(scene, scene.topology.sentinels[0], "SENTINEL", "FAILOVER", SERVICE, *how)


async def _flush_scripts(scene: Scene) -> None:
    scene.note("fault", scene.primary.name, f"SCRIPT FLUSH every {FLUSH_S * 1000:g} ms")
    while await _not_over(scene, FLUSH_S):
        await _ask(scene, scene.primary, "SCRIPT", "FLUSH")


async def _kill_clients(scene: Scene) -> None:
    scene.note("fault", scene.primary.name, f"CLIENT KILL TYPE normal every {KILL_S:g} s")
    while await _not_over(scene, KILL_S):
        await _ask(scene, scene.primary, "CLIENT", "KILL", "TYPE", "normal")


async def _storm(scene: Scene) -> Stormed:
    scene.note("fault", "client", "cancellations")
    stormed = await Storm(scene.client, storm.CANCELLATIONS, seed=scene.seed).rage()
    scene.note("healed", "client", f"{stormed.cancelled} cancelled")
    return stormed


async def _ask(scene: Scene, node: Node, *command: str) -> Any:
    return await asyncio.to_thread(scene.topology.call, node, *command)


async def _not_over(scene: Scene, pause_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await scene.over.wait()
    return not scene.over.is_set()


_ALL: Final = (
    Fault(
        name="kill9",
        does="kill -9 of the primary: the process is gone, and its connections are reset at once.",
        shows="an outage hardly longer than down-after-milliseconds, in which no call hangs past its deadline; "
        "of what was acknowledged only the tail that no replica had yet is gone, and nothing that was durable",
        after_s=7.0,
        failovers=1,
        apply=_kill,
    ),
    Fault(
        name="sigstop",
        does=f"SIGSTOP of the primary, and SIGCONT after {STOPPED_S:g} s: it hangs, its connections stay open, and it "
        "comes back believing that it is the primary.",
        shows="callers are let go at their deadline, the client goes to the new primary, and nothing that the old one "
        "says afterwards is believed",
        after_s=STOPPED_S + 4.0,
        failovers=1,
        apply=_stop,
    ),
    Fault(
        name="forced",
        does="SENTINEL FAILOVER while the primary is well: it goes on taking writes for some ten seconds, all of which "
        "are thrown away when it becomes a replica.",
        shows="the client leaves the old primary as soon as the new one is promoted: a few milliseconds of plain "
        "writes are lost, durable ones are not, and no user sees an error",
        after_s=14.0,
        failovers=1,
        apply=_force,
    ),
    Fault(
        name="coordinated",
        does="SENTINEL FAILOVER … COORDINATED: the primary pauses writes, hands over, and becomes a replica itself.",
        shows="nothing is lost and nobody sees an error: calls wait for the moment of the hand-over",
        after_s=5.0,
        failovers=1,
        apply=_coordinate,
    ),
    Fault(
        name="script-flush",
        does=f"SCRIPT FLUSH on the primary every {FLUSH_S * 1000:g} ms: it forgets the Lua scripts.",
        shows="no user sees an error: a script that is missing is sent along",
        after_s=5.0,
        failovers=0,
        apply=_flush_scripts,
        steady=True,
    ),
    Fault(
        name="cancel-storm",
        does=f"{storm.CANCELLATIONS:,} calls that are cancelled at any moment, while the workload goes on beside them.",
        shows="no reply reaches another caller, no slot is left behind, and no connection is given up",
        after_s=8.0,
        failovers=0,
        apply=_storm,
        steady=True,
    ),
    Fault(
        name="client-kill",
        does=f"CLIENT KILL TYPE normal on the primary every {KILL_S:g} s: all connections end, the server is well.",
        shows="the client is back at once: nothing acknowledged is lost, and a call fails only if it was under way and "
        "must not be repeated",
        after_s=5.0,
        failovers=0,
        apply=_kill_clients,
    ),
)
FAULTS: Final[Mapping[str, Fault]] = MappingProxyType({fault.name: fault for fault in _ALL})
"""Every fault by its name, in the order in which they are done."""
