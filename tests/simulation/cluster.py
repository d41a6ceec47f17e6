"""Servers and their Sentinels: the first server begins as the primary, the others as its replicas, in sync."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.valkey.sentinel import SERVICE, Sentinel
from tests.simulation.valkey.server import Server
from tollhouse.stores.urls import Host

SKEW_MS_MAX: Final = 50
"""How far a server's clock may be ahead or behind."""


class Cluster:
    """Server k and Sentinel k share the machine 10.0.0.k; all of them run."""

    def __init__(
        self,
        loop: VirtualLoop,
        network: Network,
        rng: random.Random,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        priorities: Sequence[int] | None = None,
        lag_ms: float = 0,
        min_replicas: int = 0,
        down_after_ms: int = 1000,
    ) -> None:
        self._loop = loop
        self._emptied_s = -1.0
        chosen = (100,) * (replicas + 1) if priorities is None else tuple(priorities)
        peers: dict[Host, Server] = {}
        self.servers = [
            Server(
                (_ip(number), 6379),
                loop,
                network,
                random.Random(rng.getrandbits(64)),
                peers,
                priority=chosen[number - 1],
                min_replicas=min_replicas,
                lag_ms=lag_ms,
                skew_ms=rng.randint(-SKEW_MS_MAX, SKEW_MS_MAX),
            )
            for number in range(1, replicas + 2)
        ]
        watchers: dict[Host, Sentinel] = {}
        self.sentinels = [
            Sentinel(
                (_ip(number), 26379),
                str(number) * 40,
                loop,
                network,
                random.Random(rng.getrandbits(64)),
                peers,
                watchers,
                quorum=sentinels // 2 + 1,
                down_after_ms=down_after_ms,
            )
            for number in range(1, sentinels + 1)
        ]
        first = self.servers[0]
        for server in self.servers:
            server.start()
        for server in self.servers[1:]:
            server.replicator.begin_in_sync(first)
        for sentinel in self.sentinels:
            sentinel.start()

    def primary(self) -> Server:
        """Return the server that most Sentinels name, those that do not run included: they will."""
        named = Counter(sentinel.named for sentinel in self.sentinels)
        host = max(named, key=lambda each: named[each])
        return next(server for server in self.servers if server.host == host)

    @property
    def forgotten_s(self) -> float:
        """Return until when writes may be lost because of what Sentinel does with a server that lacks them; or -1.

        That server had not followed since and was promoted, or it was the primary still and started with nothing.
        """
        return max(self._emptied_s, *(sentinel.forgotten_s for sentinel in self.sentinels))

    def restart_empty(self, server: Server) -> None:
        """Start a server with nothing. If no Sentinel that runs has replaced it, its replicas will have nothing too."""
        if all(sentinel.named == server.host for sentinel in self.sentinels if sentinel.alive):
            self._emptied_s = self._loop.time()
        server.restart(empty=True)

    def set_clocks(self, ms: int) -> None:
        """Set the clocks of all servers forward, at once."""
        for server in self.servers:
            server.skew_ms += ms

    def failover(self, kind: Literal["forced", "coordinated"]) -> None:
        """Order the first Sentinel that runs to replace the primary; no effect if that is not possible now."""
        for sentinel in self.sentinels:
            if sentinel.alive and sentinel.force_failover(coordinated=kind == "coordinated"):
                return

    def url(self) -> str:
        """Return the URL for stores."""
        hosts = ",".join(f"{ip}:{port}" for ip, port in (sentinel.host for sentinel in self.sentinels))
        return f"redis+sentinel://{hosts}/{SERVICE}/0"


def _ip(number: int) -> str:
    return f"10.0.0.{number}"
