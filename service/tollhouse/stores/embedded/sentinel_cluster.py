"""An embedded Sentinel cluster: one primary, two replicas and three Sentinels, all started by this process.

Each has an address of its own, 127.x.y.1 to .6, as six machines would have, and connects from it too. One supervisor
runs all of them. Nothing is kept on disk. A node that dies stays dead until `restart`, so that a drill decides what
happens; a primary that returns before it was replaced is empty, and its replicas empty themselves to follow it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.sentinel_config import (
    QUORUM,
    SERVICE,
    ClusterConfig,
    NodeConfig,
    cluster_url,
    replicas_in_sync,
    sentinel_configs,
    sentinel_is_ready,
    server_configs,
)
from tollhouse.stores.embedded.server import server_binary
from tollhouse.stores.embedded.supervisor import Supervisor, stop_on_failure
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host, TcpAddress

READY_S = 10.0
"""How long a node may take to answer, and all of them to agree."""
BLOCKS_MAX = 20
"""How many blocks of six addresses are tried."""
_URL = "embedded-sentinel://"
_PORTS = (6379, 6379, 6379, 26379, 26379, 26379)


class Node(Struct, frozen=True, kw_only=True):
    """A server or a Sentinel: the address that it announces, the one that it listens on, and its process."""

    name: str
    address: TcpAddress
    listens: TcpAddress
    pid: int


class SentinelCluster:
    """Six running processes; `stop` ends them, and so does the end of this process. Every method blocks."""

    def __init__(self, config: ClusterConfig, binary: str, supervisor: Supervisor, ready_s: float) -> None:
        self._binary = binary
        self._supervisor = supervisor
        self._ready_s = ready_s
        self._servers = server_configs(config, supervisor.directory)
        self._sentinels = sentinel_configs(config, supervisor.directory)
        self._configs = {node.name: node for node in self._servers + self._sentinels}
        self._pids: dict[str, int] = {}
        self.url = cluster_url(config)

    @classmethod
    def start(
        cls,
        *,
        down_after_ms: int = 2000,
        min_replicas: int = 0,
        port_offset: int = 0,
        binary: Path | None = None,
        addresses: tuple[Host, ...] | None = None,
        ready_s: float = READY_S,
    ) -> Self:
        """Start all six; return when both replicas follow the primary and each Sentinel knows all the others.

        `down_after_ms` is how long a server must be silent before a Sentinel considers it down. A primary that fewer
        than `min_replicas` replicas follow refuses writes; so does one after a failover, until one follows it.
        `addresses` are those of the primary, two replicas and three Sentinels. With a `port_offset` the nodes announce
        these and listen that much higher: what passes their connections on has to run by then. Raises
        ConfigurationError if the cluster cannot be started.
        """
        program = server_binary(binary)
        chosen = free_addresses() if addresses is None else addresses
        config = ClusterConfig(
            servers=chosen[:3],
            sentinels=chosen[3:],
            password=secrets.token_urlsafe(24),
            sentinel_password=secrets.token_urlsafe(24),
            down_after_ms=down_after_ms,
            min_replicas=min_replicas,
            port_offset=port_offset,
        )
        cluster = cls(config, program, Supervisor(), ready_s)
        with stop_on_failure(cluster.stop, _URL):
            cluster._start_all()
        return cluster

    @property
    def pid(self) -> int:
        """The process id of the supervisor process."""
        return self._supervisor.pid

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The three servers; the first began as primary."""
        return tuple(map(self._node, self._servers))

    @property
    def sentinels(self) -> tuple[Node, ...]:
        """The three Sentinels."""
        return tuple(map(self._node, self._sentinels))

    def primary(self) -> Node | None:
        """Return the server that most Sentinels name as primary; None while they do not agree."""
        named: Counter[tuple[str, str]] = Counter()
        for sentinel in self._sentinels:
            with contextlib.suppress(OSError, ServerError):
                named[tuple(_call(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE))] += 1
        for node in self.nodes:
            if named[node.address.host, str(node.address.port)] >= QUORUM:
                return node
        return None

    def call(self, node: Node, *command: str | int) -> Any:
        """Send one command to a node, logged in, and return its reply.

        Raises OSError if there is no reply within a second, ServerError if the node refuses.
        """
        return _call(self._configs[node.name], *command)

    def restart(self, node: Node) -> Node:
        """Start a node again with its present settings file, killing it if it runs; return when it answers.

        Raises ServerExit if it exits instead, ConfigurationError if it does not answer in time.
        """
        config = self._configs[node.name]
        self._launch(config)
        self._wait_for(lambda: _call(config, "PING") == "PONG", f"{config.name} to answer", config)
        return self._node(config)

    def stop(self) -> None:
        """End all of them; no effect the second time."""
        self._supervisor.stop()

    def _start_all(self) -> None:
        """Start the primary, then the replicas, then the Sentinels, so that these find all of them at once."""
        for config in self._configs.values():
            config.file.parent.mkdir()
            config.file.write_text(config.settings)
        primary, *replicas = self._servers
        self._launch(primary)
        self._wait_for(lambda: _call(primary, "PING") == "PONG", "the primary to answer", primary)
        for config in replicas:
            self._launch(config)
        self._wait_for(
            lambda: replicas_in_sync([_call(config, "INFO", "replication") for config in self._servers]),
            "the replicas to follow the primary",
            *self._servers,
        )
        for config in self._sentinels:
            self._launch(config)
        self._wait_for(lambda: all(map(_is_ready, self._sentinels)), "the Sentinels to agree", *self._configs.values())

    def _launch(self, config: NodeConfig) -> None:
        command = [self._binary, str(config.file), *config.flags]
        self._pids[config.name] = self._supervisor.start(config.name, command)

    def _wait_for(self, condition: Callable[[], bool], what: str, *concerned: NodeConfig) -> None:
        """Poll until the condition holds. An error means not yet; the exit of a concerned node ends the wait."""
        give_up_s = time.monotonic() + self._ready_s
        while time.monotonic() < give_up_s:
            with contextlib.suppress(OSError, ServerError):
                if condition():
                    return
            self._supervisor.check(*(config.name for config in concerned))
            time.sleep(0.01)
        raise ConfigurationError("url", _URL, f"waited {self._ready_s:g} s in vain for {what}")

    def _node(self, config: NodeConfig) -> Node:
        return Node(name=config.name, address=config.address, listens=config.listens, pid=self._pids[config.name])


def free_addresses(randbelow: Callable[[int], int] = secrets.randbelow) -> tuple[Host, ...]:
    """Return six neighbouring loopback addresses that are free; raise ConfigurationError if none are found."""
    for _ in range(BLOCKS_MAX):
        block = f"127.{randbelow(254) + 1}.{randbelow(256)}"
        addresses = tuple((f"{block}.{number}", port) for number, port in enumerate(_PORTS, start=1))
        if all(map(_is_free, addresses)):
            return addresses
    raise ConfigurationError(
        "url", _URL, "no block 127.x.y.1 to .6 is free here; Linux has them, elsewhere give `addresses`"
    )


def _is_free(address: Host) -> bool:
    with socket.socket() as listener, contextlib.suppress(OSError):
        listener.bind(address)
        return True
    return False


def _is_ready(sentinel: NodeConfig) -> bool:
    peers, replicas = (_call(sentinel, "SENTINEL", kind, SERVICE) for kind in ("SENTINELS", "REPLICAS"))
    usable = _call(sentinel, "SENTINEL", "CKQUORUM", SERVICE).startswith("OK 3 ")
    return usable and sentinel_is_ready(list(map(_as_map, peers)), list(map(_as_map, replicas)))


def _as_map(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _call(config: NodeConfig, *command: str | int) -> Any:
    return call(config.listens, (config.password,), *command)
