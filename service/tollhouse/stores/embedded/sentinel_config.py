"""The settings files of an embedded Sentinel cluster, and the rule that says when it is ready. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tollhouse.stores.urls import Host, TcpAddress

SERVICE = "main"
"""The name under which the Sentinels monitor the servers."""
QUORUM = 2
FAILOVER_TIMEOUT_MS = 5000
"""Bound of one step of a failover; a failed failover is tried again after twice as long."""

# Nodes connect from their own address, so that each peer sees which node it is. A replica without data loads straight
# from the connection, because Valkey 9.1 checks only once a second if a download to disk has finished.
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
    """The addresses of three servers, the first of them primary, and three Sentinels, and their passwords."""

    servers: tuple[Host, ...]
    sentinels: tuple[Host, ...]
    password: str
    sentinel_password: str
    down_after_ms: int


class NodeConfig(Struct, frozen=True, kw_only=True):
    """One process of the cluster: its settings file, and the flags that it is started with."""

    name: str
    address: TcpAddress
    password: str
    settings: str
    flags: tuple[str, ...] = ()


def cluster_url(config: ClusterConfig) -> str:
    """Return the store URL of the cluster, with both passwords."""
    hosts = ",".join(f"{host}:{port}" for host, port in config.sentinels)
    return f"redis+sentinel://:{config.password}@{hosts}/{SERVICE}/0?sentinel_password={config.sentinel_password}"


def server_configs(config: ClusterConfig, directory: Path) -> tuple[NodeConfig, ...]:
    """Return the configuration of the servers; each has a folder of its name below `directory`."""
    return tuple(
        NodeConfig(
            name=f"server-{number}",
            address=TcpAddress(host=host, port=port),
            password=config.password,
            settings=_SERVER.format(
                host=host, port=port, folder=directory / f"server-{number}", password=config.password
            )
            + ("" if number == 1 else f"replicaof {_spaced(config.servers[0])}\n"),
        )
        for number, (host, port) in enumerate(config.servers, start=1)
    )


def sentinel_configs(config: ClusterConfig, directory: Path) -> tuple[NodeConfig, ...]:
    """Return the configuration of the Sentinels, which know each other and the replicas from the start.

    To discover each other would take them the two seconds between their announcements.
    """
    return tuple(
        NodeConfig(
            name=f"sentinel-{number}",
            address=TcpAddress(host=host, port=port),
            password=config.sentinel_password,
            settings=_SENTINEL.format(
                host=host,
                port=port,
                folder=directory / f"sentinel-{number}",
                password=config.password,
                sentinel_password=config.sentinel_password,
                identity=_identity(number),
                service=SERVICE,
                primary=_spaced(config.servers[0]),
                quorum=QUORUM,
                down_after_ms=config.down_after_ms,
                failover_timeout_ms=FAILOVER_TIMEOUT_MS,
            )
            + _known_nodes(config, number),
            flags=("--sentinel",),
        )
        for number, (host, port) in enumerate(config.sentinels, start=1)
    )


def replicas_in_sync(replication: Sequence[str]) -> bool:
    """Return True if, by the INFO of the primary and of both replicas, both are in sync."""
    primary, *replicas = replication
    return primary.count("state=online") == 2 and all("master_link_status:up" in replica for replica in replicas)


def sentinel_is_ready(sentinels: Sequence[Mapping[str, str]], replicas: Sequence[Mapping[str, str]]) -> bool:
    """Return True if one Sentinel reaches both others, and both replicas are up and connected to the primary."""
    return (
        [other["flags"] for other in sentinels] == ["sentinel"] * 2
        and [replica["flags"] for replica in replicas] == ["slave"] * 2
        and [replica["master-link-status"] for replica in replicas] == ["ok"] * 2
    )


def _known_nodes(config: ClusterConfig, number: int) -> str:
    replicas = [f"sentinel known-replica {SERVICE} {_spaced(address)}\n" for address in config.servers[1:]]
    others = [
        f"sentinel known-sentinel {SERVICE} {_spaced(address)} {_identity(other)}\n"
        for other, address in enumerate(config.sentinels, start=1)
        if other != number
    ]
    return "".join(replicas + others)


def _identity(number: int) -> str:
    """Return an id for a Sentinel that is easy to recognise in logs."""
    return str(number) * 40


def _spaced(address: Host) -> str:
    host, port = address
    return f"{host} {port}"
