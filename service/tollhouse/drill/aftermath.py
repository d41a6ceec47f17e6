"""After a round: wait until the servers agree again, then read from the last primary what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from tollhouse import wiring
from tollhouse.drill.clients.client import Client, settings
from tollhouse.drill.results.history import Call
from tollhouse.errors import TollhouseError
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import parse

SETTLED_S: Final = 30.0
"""How long the servers may take to agree again."""
_PAUSE_S: Final = 0.05
_TRACED: Final = ("take", "hot", "create")
"""What leaves something of its own behind."""


class Unsettled(TollhouseError):
    """The servers did not agree on a primary again, so what was lost cannot be told."""


async def settle(topology: SentinelCluster) -> Node:
    """Wait until the Sentinels name a primary that every other living server follows; give it."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + SETTLED_S
    while loop.time() < give_up_s:
        agreed = await asyncio.to_thread(_agreed, topology)
        if agreed is not None:
            return agreed
        await asyncio.sleep(_PAUSE_S)
    raise Unsettled(f"the servers did not agree on a primary within {SETTLED_S:g} s after the round")


async def look(topology: SentinelCluster, last: Node, client: Client, calls: Sequence[Call], secret: bytes) -> set[str]:
    """Give the subjects of the calls that the last primary holds, read from it over a connection of its own."""
    password = quote(parse("url", topology.url).password or "", safe="")
    url = f"redis://:{password}@{last.address.host}:{last.address.port}/0"
    subjects = sorted({call.id for call in calls if call.id.startswith(_TRACED)})
    async with wiring.open(settings(url, secret)) as server:
        return await client.held(server, subjects)


def _agreed(topology: SentinelCluster) -> Node | None:
    primary = topology.primary()
    if primary is None:
        return None
    roles = {node.name: _role(topology, node) for node in topology.nodes}
    others = [role for name, role in roles.items() if name != primary.name and role]
    follows = [str(primary.address.host), primary.address.port, "connected"]
    return primary if roles[primary.name][:1] == ["master"] and all(role[1:4] == follows for role in others) else None


def _role(topology: SentinelCluster, node: Node) -> list[str | int]:
    """Ask a server for its role; a server that does not answer has none."""
    try:
        return topology.call(node, "ROLE")
    except (OSError, ServerError):
        return []
