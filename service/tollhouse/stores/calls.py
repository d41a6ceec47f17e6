"""Calls of one store: sends scripts, decides what may be sent again, and says what a failed call may have done.

A call that was not sent, or that the server refused, is tried once more inside its deadline. A call that was sent and
not answered is tried again only if its script is idempotent: a second run would otherwise charge or count twice. What
fails in the end has the outcome of its worst attempt: a call may have run though its second attempt found no server.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from tollhouse.clock import ServerClock
from tollhouse.errors import Outcome, ScriptFailed, StoreError, StoreUnavailable, worst
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, Script, Scripts
from tollhouse.stores.arguments import as_list, with_primary
from tollhouse.stores.reconnecting import ReconnectingConnection
from tollhouse.stores.transport.connection import Connection, encode
from tollhouse.stores.transport.errors import CALL_FAILED, ServerError, Unreachable, may_retry, outcome, verdict
from tollhouse.stores.transport.handshake import ServerInfo


class ScriptCalls:
    """Sends the calls of the store `name` over its connections.

    `connections` counts those over which small calls went.
    """

    def __init__(
        self, name: str, scripts: Scripts, metrics: Metrics, clock: ServerClock, connections: Callable[[], int]
    ) -> None:
        self.scripts = scripts
        self._name = name
        self._metrics = metrics
        self._clock = clock
        self._connections = connections
        self._id = secrets.token_hex(5)
        self._up: bool | None = None

    async def run(
        self,
        over: ReconnectingConnection,
        script: str,
        keys: Sequence[str],
        args: Sequence[Argument],
        deadline_s: float,
    ) -> tuple[list[Any], Connection]:
        """Run a script; return its reply, and the connection that it came from."""
        wanted = self.scripts[script]
        earlier: Outcome | None = None
        while True:
            connection = (over.ready if self._up else None) or await self.ready(over, deadline_s, earlier)
            assert over.server is not None
            try:
                return as_list(await self.call(connection, over.server, wanted, keys, args, deadline_s)), connection
            except CALL_FAILED as error:
                over.report_error(connection, error)
                if earlier is not None or not may_retry(error, idempotent=wanted.idempotent):
                    raise self.failure(error, script, earlier) from error
                earlier = outcome(error)

    async def call(
        self,
        connection: Connection,
        server: ServerInfo,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        deadline_s: float,
    ) -> Any:
        """Send a script once, over one certain connection; load it if the server does not have it."""
        rest = (len(keys), *keys, self._clock(), *with_primary(args, server.primary or self._connection_name()))
        try:
            return await connection.send(encode("EVALSHA", script.sha, *rest), deadline_s)
        except ServerError as error:
            if verdict(error) != "load-script":
                raise
        return await connection.send(encode("EVAL", script.text, *rest), deadline_s)

    async def ready(
        self, over: ReconnectingConnection, deadline_s: float, earlier: Outcome | None = None
    ) -> Connection:
        """Return a connection that can send, or raise StoreUnavailable with the outcome of `earlier` attempts."""
        try:
            connection = over.ready or await over.connected(deadline_s)
        except Unreachable as error:
            raise self.unavailable(earlier or "not-sent", str(error)) from error
        self._report_up(up=True)
        return connection

    def failure(self, error: Exception, what: str, earlier: Outcome | None = None) -> StoreError:
        """Return the error for callers; the store counts as down unless the server itself refused the call."""
        happened = worst(outcome(error), earlier or "not-sent")
        if not isinstance(error, ServerError):
            return self.unavailable(happened, str(error))
        if verdict(error) == "defect":
            return ScriptFailed(f"store {self._name!r}: {what}: {error}", happened)
        self._metrics.store_failure(self._name, happened)
        return StoreUnavailable(self._name, happened, str(error))

    def unavailable(self, happened: Outcome, reason: str) -> StoreUnavailable:
        """Return the error of a call that found no server; the store counts as down."""
        self._report_up(up=False)
        self._metrics.store_failure(self._name, happened)
        return StoreUnavailable(self._name, happened, reason)

    def _connection_name(self) -> str:
        """Return a name for a primary that may not be asked for its replication id: that of the present connection.

        What is read and written over one connection is what one server says without a break.
        """
        return f"{self._id}{self._connections():06d}"

    def _report_up(self, *, up: bool) -> None:
        """Report changes only: every call passes here."""
        if up is not self._up:
            self._up = up
            self._metrics.store_up(self._name, up)
