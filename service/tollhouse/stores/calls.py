"""Calls of one store: sends scripts, decides what may be sent again, and says what a failed call may have done.

A call that was not sent, or that the server refused, is tried once more inside its deadline. A call that was sent and
not answered is tried again only if its script is idempotent: a second run would otherwise charge or count twice. While
the primary has no replica to write to, calls wait (see replica_shortage.py), and so do those that would overtake a
replay that is due. What fails in the end has the outcome of its worst attempt: a call may have run though its second
attempt found no server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Literal, cast

from tollhouse.clock import ServerClock
from tollhouse.errors import Outcome, ScriptFailed, StoreError, StoreUnavailable, worst
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, FixedArguments, Script, Scripts
from tollhouse.stores.arguments import packed_call, with_primary
from tollhouse.stores.reconnecting import ReconnectingConnection
from tollhouse.stores.replay import Replay
from tollhouse.stores.replica_shortage import ReplicaShortage
from tollhouse.stores.replication.primary_names import PrimaryNames
from tollhouse.stores.replication.watch import ReplicationWatch
from tollhouse.stores.transport.connection import Connection, pack
from tollhouse.stores.transport.errors import (
    CALL_FAILED,
    ServerError,
    Unreachable,
    awaits_replica,
    may_retry,
    needs_text,
    outcome,
    verdict,
)
from tollhouse.stores.transport.handshake import ServerInfo
from tollhouse.stores.transport.redial import Backoff
from tollhouse.stores.transport.refusals import ServerRefusal, StoreRefusals

_Command = Literal["EVALSHA", "EVAL"]
"""Sends a script by its hash, or by its text."""


class CallHistory:
    """What a call has behind it: the worst outcome of its attempts, its pauses for want of a replica, and a replay.

    `command` sends its next attempt: EVAL once a server did not have the script. `connection` had the last one.
    """

    __slots__ = ("command", "connection", "is_repeated", "met_replay", "outcome", "pauses")

    def __init__(self) -> None:
        self.command: _Command = "EVALSHA"
        self.connection: Connection | None = None
        self.outcome: Outcome = "not-sent"
        self.is_repeated = False
        self.met_replay = False
        self.pauses: Backoff | None = None

    @property
    def has_waited(self) -> bool:
        """Return whether time was spent in which the server was there."""
        return self.met_replay or self.pauses is not None


class ScriptCalls:
    """Sends the calls of the store `name` over its connections."""

    def __init__(
        self,
        name: str,
        scripts: Scripts,
        metrics: Metrics,
        clock: ServerClock,
        names: PrimaryNames,
        replay: Replay,
        shortage: ReplicaShortage,
        refusals: StoreRefusals,
    ) -> None:
        self.scripts = scripts
        self._replay = replay
        self._shortage = shortage
        self._name = name
        self._refusals = refusals
        self._metrics = metrics
        self._clock = clock
        self._names = names
        self.watch: ReplicationWatch | None = None
        self._up: bool | None = None

    async def run(
        self,
        over: ReconnectingConnection,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        deadline_s: float,
        past: CallHistory | None = None,
    ) -> list[Any]:
        """Run a script and return its reply; `past`, if it is given, has the connection that it came from.

        Nearly every call of the service passes here once, with no past: it enters few other functions.
        """
        began_s = time.perf_counter()
        while True:
            connection = (over.ready if self._up else None) or await self.ready(over, deadline_s, past)
            if script.reads:
                over.role_check.run(connection)
            elif self._replay.due:
                past = past or CallHistory()
                await self._await_replay(over, connection, past, deadline_s)
                continue
            try:
                reply = await self._send(past, connection, over.server, script, keys, args, deadline_s)
            except CALL_FAILED as error:
                past = past or CallHistory()
                await self._before_next_attempt(error, over, connection, script, past, deadline_s)
            else:
                break
        if self.watch is not None and not self.watch.trusted:
            raise self.unavailable("ambiguous", self.watch.reason)
        if self._shortage.since_s is not None or not self._refusals.disproved:
            self._on_success(script)
        self._metrics.script(self._name, script.name, time.perf_counter() - began_s)
        return cast("list[Any]", reply) if isinstance(reply, list) else [reply]

    async def aclose(self) -> None:
        """Wake the calls that wait, after their connections were closed: they end with that for a reason."""
        await self._replay.aclose()
        self._shortage.end()

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
        past = CallHistory()
        try:
            return await self._send(past, connection, server, script, keys, args, deadline_s)
        except ServerError as error:
            if not needs_text(error):
                raise
        past.command = "EVAL"
        return await self._send(past, connection, server, script, keys, args, deadline_s)

    async def ready(
        self, over: ReconnectingConnection, deadline_s: float, past: CallHistory | None = None
    ) -> Connection:
        """Return a connection that can send, or raise StoreUnavailable with the outcome of `past` attempts."""
        earlier = "not-sent" if past is None else past.outcome
        if self.watch is not None and not self.watch.trusted:
            raise self.unavailable(earlier, self.watch.reason)
        late = past is not None and past.has_waited
        try:
            connection = over.ready or await over.connected(deadline_s, late=late)
        except Unreachable as error:
            raise self.unavailable(earlier, str(error), over.refusal) from error
        self.report_up(up=True)
        return connection

    def failure(self, error: Exception, what: str, earlier: Outcome = "not-sent") -> StoreError:
        """Return the error for callers; the store counts as down unless the server itself refused the call."""
        happened = worst(outcome(error), earlier)
        if not isinstance(error, ServerError):
            return self.unavailable(happened, str(error))
        if verdict(error) == "defect":
            return ScriptFailed(f"store {self._name!r}: {what}: {error}", happened)
        self._metrics.store_failure(self._name, happened)
        refusal = self._refusals.of_call(error, what if what in self.scripts else None)
        return self._refusals.error(happened, refusal.text, refusal)

    def unavailable(self, happened: Outcome, reason: str, refusal: ServerRefusal | None = None) -> StoreError:
        """Return the error of a call that found no server, for want of one or by a refusal; the store is down."""
        self.report_up(up=False)
        self._metrics.store_failure(self._name, happened)
        return self._refusals.error(happened, reason, refusal)

    def _send(
        self,
        past: CallHistory | None,
        connection: Connection,
        server: ServerInfo | None,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        deadline_s: float,
    ) -> asyncio.Future[Any]:
        """Send a script once. Every call passes here: that it is no coroutine saves each of them one."""
        if past is None and isinstance(args, FixedArguments):
            return connection.send(packed_call(script.sha, keys, self._clock(), args), deadline_s)
        command, body = "EVALSHA", script.sha
        if past is not None:
            past.connection = connection
            command, body = past.command, script.sha if past.command == "EVALSHA" else script.text
        if script.primary_at is not None:
            assert server is not None
            args = with_primary(args, script.primary_at, server.primary or self._names.substitute())
        parts = cast("tuple[str | bytes | int, ...]", (command, body, len(keys), *keys, self._clock(), *args))
        return connection.send(pack(parts), deadline_s)

    async def _await_replay(
        self, over: ReconnectingConnection, connection: Connection, past: CallHistory, deadline_s: float
    ) -> None:
        """Return when the replay that was due is done; raise StoreUnavailable when the call cannot wait for that."""
        refusal = self._replay.refusal
        if refusal is not None and not past.met_replay:  # one hint a call, as of a refusal of its own
            over.report_error(connection, refusal)
        past.met_replay = True
        if not await self._replay.wait(deadline_s):
            self._metrics.store_failure(self._name, past.outcome)
            raise StoreUnavailable(self._name, past.outcome, self._replay.reason)

    def _on_success(self, script: Script) -> None:
        """Draw the conclusions from a call that succeeded, if the last ones did not."""
        if not script.reads:
            self._shortage.end()
        self._refusals.disprove(script.name)

    async def _before_next_attempt(
        self,
        error: Exception,
        over: ReconnectingConnection,
        connection: Connection,
        script: Script,
        past: CallHistory,
        deadline_s: float,
    ) -> None:
        """Return when the call may be sent again; raise its error when it may not."""
        if past.command == "EVALSHA" and needs_text(error):
            past.command = "EVAL"
            return
        short = awaits_replica(error)
        if past.pauses is None or not short:  # one hint a call: its repetitions say nothing new
            over.report_error(connection, error)
        if short:
            past.outcome = worst(past.outcome, "rejected")
            past.pauses = past.pauses or self._shortage.pauses()
            # A server that was replaced meanwhile is not worth waiting for: its successor may have a replica.
            if not connection.alive or await self._shortage.wait(script.name, past.pauses, deadline_s):
                return
        if past.is_repeated or not may_retry(error, idempotent=script.idempotent):
            raise self.failure(error, script.name, past.outcome) from error
        past.is_repeated = True
        past.outcome = worst(past.outcome, outcome(error))

    def report_up(self, *, up: bool) -> None:
        """Report whether the store is up, changes only: every call passes here. Once it is down, calls ask `ready`."""
        if up is not self._up:
            self._up = up
            self._metrics.store_up(self._name, up)
