"""Faults: what breaks in the cluster and in the network, and how it is repaired."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from tests.simulation.clients import client_ip
from tests.simulation.network import Network
from tests.simulation.schedules import PRIMARY, Fault
from tests.simulation.world import World

Repair = Callable[[], None]


def strike(fault: Fault, world: World) -> None:
    """Break something now, and repair it after the fault's time."""
    if fault.kind == "restart":
        world.note(f"fault: restart {fault.way} {fault.other}")
        world.restart(range(len(world.clients)) if fault.way == "all" else [fault.other])
        return
    if fault.kind == "clocks":
        world.note(f"fault: all clocks are set forward by {fault.ms} ms")
        world.cluster.set_clocks(fault.ms)
        return
    server = _server(fault, world.cluster)
    world.note(f"fault: {_described(fault, server)}")
    repair = _break(fault, server, world)

    def repaired() -> None:
        world.note(f"repaired: {_described(fault, server)}")
        repair()

    world.loop.call_later(fault.for_ms / 1000, repaired)


def _break(fault: Fault, server: Any, world: World) -> Repair:
    network, cluster, processes = world.network, world.cluster, len(world.clients)
    match fault.kind:
        case "isolate" | "isolate-with-client":
            return _cut(network, _border(fault, server, cluster, processes))
        case "cut":
            return _cut(network, [_link(fault, server, cluster, processes)])
        case "slow":
            return _slow(network, _link(fault, server, cluster, processes), fault.ms)
        case _:
            return _break_node(fault, server, cluster)


def _break_node(fault: Fault, server: Any, cluster: Any) -> Repair:
    match fault.kind:
        case "lag":
            return _lag(server, fault.ms)
        case "sentinel":
            sentinel = cluster.sentinels[fault.other % len(cluster.sentinels)]
            sentinel.kill()
            return sentinel.restart
        case "hang":
            server.hang(fault.for_ms)
        case "failover":
            cluster.failover(fault.way)
        case _:
            server.kill()
            return partial(cluster.restart_empty, server) if fault.kind == "kill-empty" else server.restart
    return lambda: None


def _server(fault: Fault, cluster: Any) -> Any:
    """Return the server that a fault is about: the primary of that time, or one that is none."""
    primary = cluster.primary()
    if fault.server == PRIMARY:
        return primary
    others = [server for server in cluster.servers if server is not primary]
    return others[fault.other % len(others)]


def _border(fault: Fault, server: Any, cluster: Any, processes: int) -> list[tuple[str, str]]:
    """Return the links between a machine, perhaps with one process, and all others."""
    client = [client_ip(fault.other % processes)] if fault.kind == "isolate-with-client" else []
    inside = [server.host[0], *client]
    outside = [ip for ip in _machines(cluster, processes) if ip not in inside]
    return [*product(inside, outside), *product(outside, inside)]


def _link(fault: Fault, server: Any, cluster: Any, processes: int) -> tuple[str, str]:
    ip = server.host[0]
    others = [other.host[0] for other in cluster.servers if other is not server]
    peer, client = others[fault.other % len(others)], client_ip(fault.other % processes)
    match fault.way:
        case "to-server":
            return client, ip
        case "from-server":
            return ip, client
        case "replication":
            return ip, peer
        case _:
            return peer, ip


def _machines(cluster: Any, processes: int) -> list[str]:
    """Return every machine once."""
    nodes = [node.host[0] for node in (*cluster.servers, *cluster.sentinels)]
    return list(dict.fromkeys([*nodes, *map(client_ip, range(processes))]))


def _cut(network: Network, links: list[tuple[str, str]]) -> Repair:
    """Cut links; the repair heals those that this fault cut and no other one."""
    cut = [link for link in links if not network.is_cut(*link)]
    for link in cut:
        network.cut(*link)

    def heal() -> None:
        for link in cut:
            network.heal(*link)

    return heal


def _slow(network: Network, link: tuple[str, str], ms: int) -> Repair:
    network.delay(*link, ms)
    return lambda: network.delay(*link, 0)


def _lag(server: Any, ms: int) -> Repair:
    before = server.lag_ms
    server.lag_ms = ms

    def catch_up() -> None:
        server.lag_ms = before

    return catch_up


def _described(fault: Fault, server: Any) -> str:
    way = f" {fault.way}" if fault.way else ""
    amount = f" {fault.ms} ms" if fault.ms else ""
    return f"{fault.kind}{way}{amount} for {fault.for_ms} ms at {server.host[0]}:{server.host[1]}"
