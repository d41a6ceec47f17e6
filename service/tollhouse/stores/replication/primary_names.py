"""The name of the primary, to which cached values are bound: what another primary stored is never served.

A failover may lose invalidations, and nothing in the data tells which. So a value is served only on the primary that
took it, and the name has to be another one on another primary, also on one that came back.

| known                                    | name                                | shared by              |
|------------------------------------------|-------------------------------------|------------------------|
| the account may run INFO                 | the replication id                  | all processes          |
| Sentinel has asked the server since the  | its run id, and the epoch in which  | all processes, without |
| connection was made                      | Sentinel chose it                   | INFO as well           |
| else                                     | that of the connection              | nothing else           |

What Sentinel knew before the connection was made may be of a process that has ended: a primary that restarts in place
may come back with older data. It asks every ten seconds. What is read and written over one connection is what one
server says without a break, so its name holds for as long as it does.
"""

from __future__ import annotations

import secrets

from tollhouse.stores.discovery.locator import Locator
from tollhouse.stores.reconnecting import ReconnectingConnection


class PrimaryNames:
    """Names the primary of a store that may not run INFO; `over` is the connection that reads cached values."""

    def __init__(self, over: ReconnectingConnection, locator: Locator) -> None:
        self._over = over
        self._locator = locator
        self._id = secrets.token_hex(5)
        self._shared = (0, "")

    def substitute(self) -> str:
        """Return the name that stands for the replication id."""
        return self._by_sentinel() or f"{self._id}{self._over.connections:06d}"

    def _by_sentinel(self) -> str:
        """Return the name that Sentinel gave the server of the present connection; empty if it did not yet."""
        health, server = self._locator.health(), self._over.server
        given = None if health is None else health.primary_name
        if given is not None and server is not None and given.seen_s > server.connected_s:
            self._shared = (self._over.connections, given.text)
        connection, text = self._shared
        return text if connection == self._over.connections else ""
