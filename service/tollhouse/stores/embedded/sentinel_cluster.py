"""The embedded topology: one primary, two replicas and three Sentinels, all of this process.

Each has an address of its own, 127.x.y.1 to .6, as six machines would have, and connects from it too. One guard
owns all of them. Nothing is kept on disk. A node that dies stays dead until `restart`, so that a drill decides what
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
from tollhouse.stores.embedded.supervisor import ServerExit, Supervisor
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import Host, TcpAddress

READY_S = 10.0
"""How long a node may take to answer, and all of them to agree."""
BLOCKS_MAX = 20
"""How many blocks of addresses are tried before giving up."""
_URL = "embedded-sentinel://"
_PORTS = (6379, 6379, 6379, 26379, 26379, 26379)
_PAUSE_S = 0.01

Addresses = tuple[Host, Host, Host, Host, Host, Host]
"""Three servers, the primary first, then three Sentinels."""


class Node(Struct, frozen=True, kw_only=True):
    """A server or a Sentinel; `pid` is the process of its last start."""

    name: str
    address: TcpAddress
    pid: int


class SentinelCluster:
    """Addresses processes; `stop` ends them, and so does the end of this process. Every method blocks."""

    def __init__(self, layout: ClusterConfig, binary: str, guarded: Supervisor) -> None:
        self._binary = binary
        self._supervisor = guarded
        self._servers = server_configs(layout, guarded.directory)
        self._sentinels = sentinel_configs(layout, guarded.directory)
        self._configs = {member.name: member for member in self._servers + self._sentinels}
        self._pids: dict[str, int] = {}
        self.url = cluster_url(layout)

    @classmethod
    def start(
        cls, *, down_after_ms: int = 2000, binary: Path | None = None, addresses: Addresses | None = None
    ) -> Self:
        """Start all six; return when both replicas follow the primary and the Sentinels know all of them.

        `down_after_ms` is how long a server must be silent before a Sentinel calls it down. Raises
        ConfigurationError where no topology can be had.
        """
        command = server_binary(binary)
        chosen = free_addresses() if addresses is None else addresses
        layout = ClusterConfig(
            servers=chosen[:3],
            sentinels=chosen[3:],
            password=secrets.token_urlsafe(24),
            sentinel_password=secrets.token_urlsafe(24),
            down_after_ms=down_after_ms,
        )
        topology = cls(layout, command, Supervisor.open())
        try:
            topology._start_all()
        except ServerExit as error:
            topology.stop()
            raise ConfigurationError("TOLLHOUSE_URL", _URL, f"the embedded {error}") from error
        except BaseException:
            topology.stop()
            raise
        return topology

    @property
    def pid(self) -> int:
        """The guard's process id."""
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
        """Give the server that most Sentinels name as primary; None while they do not agree."""
        named: Counter[tuple[str, str]] = Counter()
        for sentinel in self._sentinels:
            with contextlib.suppress(OSError, ServerError):
                named[tuple(_call(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE))] += 1
        for node in self.nodes:
            if named[node.address.host, str(node.address.port)] >= QUORUM:
                return node
        return None

    def call(self, node: Node, *command: str | int) -> Any:
        """Send one command to a node, logged in, and give its reply.

        Raises OSError where there is no answer within a second, ServerError where the node refuses.
        """
        return _call(self._configs[node.name], *command)

    def restart(self, node: Node) -> Node:
        """Start a node again with the settings file that it left, killing it if it lives; return when it answers.

        Raises ServerEnded where it ends instead, ConfigurationError where it does not answer in time.
        """
        member = self._configs[node.name]
        self._launch(member)
        self._wait_for(lambda: _call(member, "PING") == "PONG", f"{member.name} to answer", member)
        return self._node(member)

    def stop(self) -> None:
        """End all of them; a second time there is nothing to do."""
        self._supervisor.stop()

    def _start_all(self) -> None:
        """Start the primary, then the replicas, then the Sentinels, which so find all of them at once."""
        for member in self._configs.values():
            (self._supervisor.directory / member.name).mkdir()
            self._config_file(member).write_text(member.settings)
        primary, *replicas = self._servers
        self._launch(primary)
        self._wait_for(lambda: _call(primary, "PING") == "PONG", "the primary to answer", primary)
        for member in replicas:
            self._launch(member)
        self._wait_for(
            lambda: replicas_in_sync([_call(member, "INFO", "replication") for member in self._servers]),
            "the replicas to follow the primary",
            *self._servers,
        )
        for member in self._sentinels:
            self._launch(member)
        self._wait_for(lambda: all(map(_is_ready, self._sentinels)), "the Sentinels to agree", *self._configs.values())

    def _launch(self, member: NodeConfig) -> None:
        command = [self._binary, str(self._config_file(member)), *member.flags]
        self._pids[member.name] = self._supervisor.start(member.name, command)

    def _wait_for(self, condition: Callable[[], bool], what: str, *concerned: NodeConfig) -> None:
        """Ask until the condition holds; an error is no answer yet, the end of one who is concerned is final."""
        give_up_s = time.monotonic() + READY_S
        while time.monotonic() < give_up_s:
            with contextlib.suppress(OSError, ServerError):
                if condition():
                    return
            self._supervisor.check(*(member.name for member in concerned))
            time.sleep(_PAUSE_S)
        raise ConfigurationError("TOLLHOUSE_URL", _URL, f"waited {READY_S:g} s in vain for {what}")

    def _config_file(self, member: NodeConfig) -> Path:
        return self._supervisor.directory / f"{member.name}.conf"

    def _node(self, member: NodeConfig) -> Node:
        return Node(name=member.name, address=member.address, pid=self._pids[member.name])


def free_addresses() -> Addresses:
    """Find six neighbouring loopback addresses on which nobody listens."""
    for _ in range(BLOCKS_MAX):
        block = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}"
        one, two, three, four, five, six = ((f"{block}.{number}", port) for number, port in enumerate(_PORTS, start=1))
        if all(map(_free, (one, two, three, four, five, six))):
            return one, two, three, four, five, six
    raise ConfigurationError(
        "TOLLHOUSE_URL", _URL, "no block 127.x.y.1 to .6 is free here; Linux has them, elsewhere give `addresses`"
    )


def _free(address: Host) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _is_ready(sentinel: NodeConfig) -> bool:
    others, replicas = (_call(sentinel, "SENTINEL", kind, SERVICE) for kind in ("SENTINELS", "REPLICAS"))
    usable = _call(sentinel, "SENTINEL", "CKQUORUM", SERVICE).startswith("OK 3 ")
    return usable and sentinel_is_ready(list(map(_facts, others)), list(map(_facts, replicas)))


def _facts(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _call(member: NodeConfig, *command: str | int) -> Any:
    return call(member.address, (member.password,), *command)
