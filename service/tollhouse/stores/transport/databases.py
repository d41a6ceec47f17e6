"""The logical database of a store: its own, or the one that all stores of a URL share.

Stores that follow from one URL have a database each. Some servers have too few, and some accounts may not select one:
there the stores share the database that the URL names, whose keys have a prefix for each store. The first handshake
decides for all of them. After that none is moved: data that a store has written elsewhere would be out of its sight, so
a primary that refuses its database is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tollhouse.errors import ConfigurationError
from tollhouse.logs import Log
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import ServerError, is_lacking, verdict
from tollhouse.stores.urls import StoreUrl

SEPARATION: Final = (
    "use a server with a database for each store and an account that may SELECT, or give a store a server of its own "
    "with a URL such as TOLLHOUSE_CACHE_URL"
)
"""How stores get databases of their own."""

_log = Log("tollhouse.stores")


class DatabaseChoice:
    """Whether the stores of one URL share its database, None until a handshake decides; and for which reason."""

    def __init__(self) -> None:
        self.shared: bool | None = None
        self.reason = ""
        self.is_logged = False


class Database:
    """The database of one store; `choice` is that of all stores that follow from the same URL."""

    def __init__(self, url: StoreUrl, choice: DatabaseChoice) -> None:
        self._own = url.db
        self._sharing = url.sharing
        self._choice = choice

    @property
    def shared(self) -> bool | None:
        """Return whether the store shares its database with others; None until that is decided."""
        if self._sharing is None:
            return False
        return True if self._sharing.always else self._choice.shared

    @property
    def number(self) -> int:
        """Return the number of the database, once it is decided."""
        return self._sharing.db if self._sharing is not None and self.shared else self._own

    def selection(self) -> tuple[int, ...]:
        """Return the databases to select in a handshake: the own one, and before it the last one if that decides."""
        if self._sharing is not None and self.shared is None:
            return self._sharing.last, self._own
        return (self.number,)

    async def settle(self, connection: Connection, replies: Sequence[object], deadline_s: float) -> None:
        """Return when the connection uses the database; `replies` are those to `selection`.

        Raise ConfigurationError if the server refuses it, and what else the replies raise.
        """
        selected = replies[-1]
        if len(replies) > 1:
            if self._choice.shared is None:
                self._decide(replies[0])
            if self.shared:
                select = connection.send(encode("SELECT", self.number), deadline_s)
                (selected,) = await asyncio.gather(select, return_exceptions=True)
        if not _is_refused(selected):
            _raise(selected)
        elif self.number != 0 or not is_lacking(selected):  # a connection begins in database 0
            remedy = f"{SEPARATION}; or set TOLLHOUSE_DATABASES=shared"
            raise ConfigurationError("server", f"refuses database {self.number}: {selected}", remedy)

    def _decide(self, reply: object) -> None:
        """Share the database if the server refuses the last one that separate stores need."""
        if not _is_refused(reply):
            _raise(reply)
        self._choice.shared = _is_refused(reply)
        self._choice.reason = str(reply)

    def log_sharing(self) -> None:
        """Log that a server has made the stores share a database, once for all of them."""
        if self._sharing is not None and self._choice.shared and not self._choice.is_logged:
            self._choice.is_logged = True
            fields = {"database": self.number, "reason": self._choice.reason, "remedy": SEPARATION}
            _log.warning("stores share one database", extra=fields)


def _is_refused(reply: object) -> bool:
    """Return True if the server does not let the account use a database, now or later."""
    return isinstance(reply, ServerError) and (is_lacking(reply) or verdict(reply) == "defect")


def _raise(reply: object) -> None:
    if isinstance(reply, BaseException):
        raise reply
