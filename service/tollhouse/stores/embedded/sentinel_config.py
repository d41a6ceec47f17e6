"""What a topology consists of: addresses, settings files, and the rule that says when it has settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tollhouse.stores.urls import Host, TcpAddress

SERVICE = "main"
"""The name under which the Sentinels watch the servers."""
QUORUM = 2
FAILOVER_TIMEOUT_MS = 5000
"""How long one step of a failover may take; a failed failover is tried again after twice as long."""

# Connecting from one's own address shows each peer who one is. A replica without data loads straight from the
# connection, because Valkey 9.1 looks only once a second whether a download to disk has finished.
_SERVER = """\
bind {host}
bind-source-addr {host}
port {port}
dir {folder}
requirepass {password}
primaryauth {password}
save ""
appendonly no
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-diskless-load on-empty-db
shutdown-timeout 0
"""
_SENTINEL = """\
bind {host}
bind-source-addr {host}
port {port}
dir {folder}
requirepass {sentinel_password}
sentinel myid {identity}
sentinel monitor {service} {primary} {quorum}
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} {down_after_ms}
sentinel failover-timeout {service} {failover_timeout_ms}
sentinel parallel-syncs {service} 1
"""


class ClusterConfig(Struct, frozen=True, kw_only=True):
    """Where three servers, the first of them primary, and three Sentinels listen, and with which passwords."""

    servers: tuple[Host, ...]
    sentinels: tuple[Host, ...]
    password: str
    sentinel_password: str
    down_after_ms: int


class NodeConfig(Struct, frozen=True, kw_only=True):
    """One process of a topology: what its settings file says, and how it is started with that file."""

    name: str
    address: TcpAddress
    password: str
    settings: str
    flags: tuple[str, ...] = ()


def cluster_url(layout: ClusterConfig) -> str:
    """Say where clients find the primary."""
    hosts = ",".join(f"{host}:{port}" for host, port in layout.sentinels)
    return f"redis+sentinel://:{layout.password}@{hosts}/{SERVICE}/0?sentinel_password={layout.sentinel_password}"


def server_configs(layout: ClusterConfig, directory: Path) -> tuple[NodeConfig, ...]:
    """Describe the servers; each keeps its files in a folder of its name below `directory`."""
    return tuple(
        NodeConfig(
            name=f"server-{number}",
            address=TcpAddress(host=host, port=port),
            password=layout.password,
            settings=_SERVER.format(
                host=host, port=port, folder=directory / f"server-{number}", password=layout.password
            )
            + ("" if number == 1 else f"replicaof {_spaced(layout.servers[0])}\n"),
        )
        for number, (host, port) in enumerate(layout.servers, start=1)
    )


def sentinel_configs(layout: ClusterConfig, directory: Path) -> tuple[NodeConfig, ...]:
    """Describe the Sentinels, which know each other and the replicas from the beginning.

    Left to find each other, they would need the two seconds between their announcements.
    """
    return tuple(
        NodeConfig(
            name=f"sentinel-{number}",
            address=TcpAddress(host=host, port=port),
            password=layout.sentinel_password,
            settings=_SENTINEL.format(
                host=host,
                port=port,
                folder=directory / f"sentinel-{number}",
                password=layout.password,
                sentinel_password=layout.sentinel_password,
                identity=_identity(number),
                service=SERVICE,
                primary=_spaced(layout.servers[0]),
                quorum=QUORUM,
                down_after_ms=layout.down_after_ms,
                failover_timeout_ms=FAILOVER_TIMEOUT_MS,
            )
            + _known_nodes(layout, number),
            flags=("--sentinel",),
        )
        for number, (host, port) in enumerate(layout.sentinels, start=1)
    )


def replicas_in_sync(replication: Sequence[str]) -> bool:
    """Tell from the INFO of the servers whether both replicas follow, in the primary's eyes and in their own."""
    primary, *replicas = replication
    return primary.count("state=online") == 2 and all("master_link_status:up" in replica for replica in replicas)


def sentinel_is_ready(sentinels: Sequence[Mapping[str, str]], replicas: Sequence[Mapping[str, str]]) -> bool:
    """Tell from what one Sentinel says of the others and of the replicas whether it can work with all of them."""
    return (
        [other["flags"] for other in sentinels] == ["sentinel"] * 2
        and [replica["flags"] for replica in replicas] == ["slave"] * 2
        and [replica["master-link-status"] for replica in replicas] == ["ok"] * 2
    )


def _known_nodes(layout: ClusterConfig, number: int) -> str:
    replicas = [f"sentinel known-replica {SERVICE} {_spaced(address)}\n" for address in layout.servers[1:]]
    others = [
        f"sentinel known-sentinel {SERVICE} {_spaced(address)} {_identity(other)}\n"
        for other, address in enumerate(layout.sentinels, start=1)
        if other != number
    ]
    return "".join(replicas + others)


def _identity(number: int) -> str:
    """Give a Sentinel an id that people recognise in logs."""
    return str(number) * 40


def _spaced(address: Host) -> str:
    host, port = address
    return f"{host} {port}"
