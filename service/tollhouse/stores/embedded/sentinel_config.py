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

# Nodes connect from their own address, so that each peer sees which node it is.
_NODE = """\
bind {host}
bind-source-addr {host}
port {listens}
dir {folder}
requirepass {password}
"""
# A replica without data loads straight from the connection, because Valkey 9.1 checks only once a second if a download
# to disk has finished.
_SERVER = """\
masterauth {config.password}
save ""
appendonly no
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-diskless-load on-empty-db
shutdown-timeout 0
min-replicas-to-write {config.min_replicas}
min-replicas-max-lag 10
replica-announce-ip {host}
replica-announce-port {port}
"""


class ClusterConfig(Struct, frozen=True, kw_only=True):
    """The addresses of three servers, the first of them primary, and three Sentinels, and their passwords.

    Each node announces its address, and listens there on a port that is higher by `port_offset`.
    """

    servers: tuple[Host, ...]
    sentinels: tuple[Host, ...]
    password: str
    sentinel_password: str
    down_after_ms: int
    min_replicas: int
    port_offset: int


class NodeConfig(Struct, frozen=True, kw_only=True):
    """One process of the cluster: its settings file in a folder of its own, and the flags that it is started with."""

    name: str
    address: TcpAddress
    listens: TcpAddress
    password: str
    file: Path
    settings: str
    flags: tuple[str, ...]


def cluster_url(config: ClusterConfig) -> str:
    """Return the store URL of the cluster, with both passwords."""
    hosts = ",".join(f"{host}:{port}" for host, port in config.sentinels)
    return f"redis+sentinel://:{config.password}@{hosts}/{SERVICE}/0?sentinel_password={config.sentinel_password}"


def server_configs(config: ClusterConfig, directory: Path) -> tuple[NodeConfig, ...]:
    """Return the configuration of the servers; their files and folders are in `directory`."""
    nodes: list[NodeConfig] = []
    for number, (host, port) in enumerate(config.servers, start=1):
        settings = _SERVER.format(config=config, host=host, port=port)
        follows = "" if number == 1 else f"replicaof {_spaced(config.servers[0])}\n"
        nodes.append(_node(config, f"server-{number}", (host, port), config.password, settings + follows, directory))
    return tuple(nodes)


def sentinel_configs(config: ClusterConfig, directory: Path) -> tuple[NodeConfig, ...]:
    """Return the configuration of the Sentinels, which know each other and the replicas from the start.

    To discover each other would take them the two seconds between their announcements.
    """
    return tuple(
        _node(
            config,
            f"sentinel-{number}",
            address,
            config.sentinel_password,
            _sentinel_settings(config, number),
            directory,
            "--sentinel",
        )
        for number, address in enumerate(config.sentinels, start=1)
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


def _node(
    config: ClusterConfig, name: str, address: Host, password: str, settings: str, directory: Path, *flags: str
) -> NodeConfig:
    host, port = address
    folder = directory / name
    listens = port + config.port_offset
    return NodeConfig(
        name=name,
        address=TcpAddress(host=host, port=port),
        listens=TcpAddress(host=host, port=listens),
        password=password,
        file=folder / "valkey.conf",
        settings=_NODE.format(host=host, listens=listens, folder=folder, password=password) + settings,
        flags=flags,
    )


def _sentinel_settings(config: ClusterConfig, number: int) -> str:
    others = [(address, _identity(other)) for other, address in enumerate(config.sentinels, start=1) if other != number]
    lines = [
        f"myid {_identity(number)}",
        f"announce-ip {config.sentinels[number - 1][0]}",
        f"announce-port {config.sentinels[number - 1][1]}",
        f"monitor {SERVICE} {_spaced(config.servers[0])} {QUORUM}",
        f"auth-pass {SERVICE} {config.password}",
        f"down-after-milliseconds {SERVICE} {config.down_after_ms}",
        f"failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}",
        f"parallel-syncs {SERVICE} 1",
        *(f"known-replica {SERVICE} {_spaced(address)}" for address in config.servers[1:]),
        *(f"known-sentinel {SERVICE} {_spaced(address)} {identity}" for address, identity in others),
    ]
    return "".join(f"sentinel {line}\n" for line in lines)


def _identity(number: int) -> str:
    """Return an id for a Sentinel that is easy to recognise in logs."""
    return str(number) * 40


def _spaced(address: Host) -> str:
    host, port = address
    return f"{host} {port}"
