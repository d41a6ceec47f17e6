"""A primary with three replicas of different priorities and three Sentinels; streams between servers can rest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Callable
from typing import Any, Final

from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.sentinel_cluster import free_addresses
from tollhouse.stores.embedded.sentinel_config import (
    ClusterConfig,
    NodeConfig,
    cluster_url,
    sentinel_configs,
    server_configs,
)
from tollhouse.stores.embedded.server import server_binary
from tollhouse.stores.embedded.supervisor import Supervisor
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host

PATIENCE_S: Final = 30.0
PRIMARY, PREFERRED, SECOND, SPARE = range(4)
PRIORITIES: Final = (50, 10, 100, 0)


class Stream:
    """A TCP proxy before one server; while `resting` it passes nothing on to those who connected."""

    def __init__(self, behind: Host) -> None:
        self._behind = behind
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> Host:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host: Host = self._server.sockets[0].getsockname()[:2]
        return host

    def rest(self) -> None:
        """Pass nothing on from now on."""
        self._flowing.clear()

    async def aclose(self) -> None:
        """Close every connection."""
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._behind)
        except OSError:
            writer.close()
            return
        for source, target, always in ((reader, back, True), (there, writer, False)):
            pump = asyncio.create_task(self._pump(source, target, always=always))
            self._pumps.add(pump)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, always: bool) -> None:
        try:
            while data := await source.read(65536):
                if not always:
                    await self._flowing.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass  # one end is gone, and so is the stream
        finally:
            target.close()


class Cluster:
    """Four servers with priorities and three Sentinels, of one supervisor process."""

    def __init__(self) -> None:
        addresses = free_addresses()
        block = addresses[0][0].rpartition(".")[0]
        servers = tuple((f"{block}.{number}", 6379) for number in (1, 2, 3, 7))
        self._config = ClusterConfig(
            servers=servers,
            sentinels=addresses[3:],
            password=secrets.token_urlsafe(24),
            sentinel_password=secrets.token_urlsafe(24),
            down_after_ms=2000,
            min_replicas=0,
            port_offset=0,
        )
        self._supervisor = Supervisor()
        self.servers = server_configs(self._config, self._supervisor.directory)
        self.sentinels = sentinel_configs(self._config, self._supervisor.directory)
        self._pids: dict[str, int] = {}
        self.url = cluster_url(self._config)
        self.streams: dict[int, Stream] = {}

    async def start(self, sources: dict[int, int]) -> None:
        """Start all; `sources` says which server a replica follows through a stream that can rest."""
        for number, source in sources.items():
            self.streams[number] = Stream(self._config.servers[source])
        for number, node in enumerate(self.servers):
            settings = f"{node.settings}replica-priority {PRIORITIES[number]}\n"
            if number in self.streams:
                settings += _source(await self.streams[number].open())
            self._launch(node, settings)
            await until(lambda node=node: ask(node, "PING") == "PONG")
        replicas = self.servers[1:]
        await until(lambda: all("master_link_status:up" in ask(one, "INFO", "replication") for one in replicas))
        for node in self.sentinels:
            # Sentinel corrects what follows another address, and takes the failover timeout to do so.
            self._launch(node, node.settings.replace("failover-timeout main 5000", "failover-timeout main 60000"))
        await until(lambda: all(_is_ready(node) for node in self.sentinels))

    def kill(self, number: int) -> None:
        """End a server as `kill -9` does."""
        os.kill(self._pids[self.servers[number].name], signal.SIGKILL)

    def named(self) -> set[str]:
        """Return the hosts that the Sentinels name as primary."""
        return {ask(node, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[0] for node in self.sentinels}

    async def aclose(self) -> None:
        """End all."""
        for stream in self.streams.values():
            await stream.aclose()
        await asyncio.to_thread(self._supervisor.stop)

    def _launch(self, node: NodeConfig, settings: str) -> None:
        node.file.parent.mkdir()
        node.file.write_text(settings)
        command = [server_binary(None), str(node.file), *node.flags]
        self._pids[node.name] = self._supervisor.start(node.name, command)


def ask(node: NodeConfig, *command: str | int) -> Any:
    """Return the reply of one server or Sentinel."""
    return call(node.address, (node.password,), *command)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for a bounded time; an error means not yet."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(OSError, ServerError):
                if await asyncio.to_thread(condition):
                    return
            await asyncio.sleep(0.02)


def _is_ready(node: NodeConfig) -> bool:
    replicas = [dict(zip(one[::2], one[1::2], strict=True)) for one in ask(node, "SENTINEL", "REPLICAS", "main")]
    told = sorted(int(one["slave-priority"]) for one in replicas if one["flags"] == "slave" and one["runid"])
    return told == sorted(PRIORITIES[1:]) and ask(node, "SENTINEL", "CKQUORUM", "main").startswith("OK 3 ")


def _source(host: Host) -> str:
    return f"replicaof {host[0]} {host[1]}\n"
