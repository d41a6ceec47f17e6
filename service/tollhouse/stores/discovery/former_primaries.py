"""Former primaries: Sentinel lists them as replicas while they report the primary role; each is asked for its offset.

Sentinel makes a replica of a former primary 8 to 20 seconds after it is back, and compares its offset from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from tollhouse.stores.discovery.role_probe import Primary, RoleProbe
from tollhouse.stores.succession import Lists, deposed_hosts, with_offsets
from tollhouse.stores.urls import Host

HOSTS_MAX: Final = 8
"""How many are asked; what is durable does not depend on the others."""


class FormerPrimaries:
    """The offsets of the former primaries of one service, as each said last; asked again for every poll."""

    def __init__(self, probe: RoleProbe) -> None:
        self._probe = probe
        self._written: dict[Host, int] = {}
        self._asking = False

    def completed(self, lists: Lists) -> Lists:
        """Return the lists with the offsets that are known; the same lists if no server in them is deposed."""
        hosts = deposed_hosts(lists)
        self._written = {host: self._written[host] for host in hosts if host in self._written}
        return with_offsets(lists, self._written) if hosts else lists

    def ask(self, lists: Lists) -> Coroutine[Any, Any, None] | None:
        """Return the work that asks the former primaries in the lists; None if there are none, or it is under way."""
        hosts = deposed_hosts(lists)[:HOSTS_MAX]
        if not hosts or self._asking:
            return None
        self._asking = True
        return self._ask(hosts)

    async def _ask(self, hosts: Sequence[Host]) -> None:
        try:
            for reply in await asyncio.gather(*map(self._probe.ask, hosts)):
                self._written.pop(reply.host, None)
                if isinstance(reply.role, Primary):
                    self._written[reply.host] = reply.role.offset
        finally:
            self._asking = False
