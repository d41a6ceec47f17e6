"""The world of one run: the network, the cluster, the processes, and what they did."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

from tests.simulation.clients import Client
from tests.simulation.history import History
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.schedules import Call, Schedule
from tests.simulation.trace import Trace

MakeCluster = Callable[[VirtualLoop, Network, random.Random, Schedule], Any]


class World:
    """Everything of a schedule but its faults. `clients` has a place for each process; a restart fills it anew."""

    def __init__(
        self, loop: VirtualLoop, trace: Trace, schedule: Schedule, make: MakeCluster, history: History
    ) -> None:
        seed = schedule.seed
        self.loop = loop
        self.network = Network(loop, random.Random(f"{seed}/network"), trace)
        self.cluster = make(loop, self.network, random.Random(f"{seed}/cluster"), schedule)
        self.history = history
        self.note = trace.note
        self._seed = seed
        self._max_unreplicated_ms = schedule.max_unreplicated_ms
        self._started = 0
        self._performing: list[tuple[Client, asyncio.Task[None]]] = []
        self._closing: list[asyncio.Task[None]] = []
        self.clients = [self.start(place) for place in range(schedule.processes)]

    def start(self, place: int) -> Client:
        """Return a new process on the machine of a place."""
        number, self._started = self._started, self._started + 1
        rng = random.Random(f"{self._seed}/client/{number}")
        sentinels = [sentinel.host[0] for sentinel in self.cluster.sentinels]
        return Client(number, place, self.cluster.url(), self.network, rng, self._max_unreplicated_ms, sentinels)

    def perform(self, call: Call) -> None:
        """Begin a call in its process."""
        client = self.clients[call.process]
        self._performing.append((client, self.loop.create_task(client.perform(call, self.history))))

    def restart(self, places: Iterable[int]) -> None:
        """End processes: what they sent arrives or not, and nothing of them is told to callers any more."""
        for place in places:
            client, self.clients[place] = self.clients[place], self.start(place)
            client.end()
            for performer, task in self._performing:
                if performer is client:
                    task.cancel()
            self._closing.append(self.loop.create_task(client.aclose()))

    async def settled(self) -> None:
        """Return when every call and every process that was ended is over."""
        await asyncio.gather(*(task for _, task in self._performing), *self._closing, return_exceptions=True)
