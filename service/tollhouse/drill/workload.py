"""The workload: real operations that are due by a schedule, whether earlier ones were answered or not.

It is an open loop: a call that hangs does not delay the next ones, and latency counts from the moment at which a call
was due. A stall therefore costs every call that falls into it, as it would cost real users.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import CallResult, DrillClient
from tollhouse.drill.results.history import Call, Operation

PATTERN: Final[tuple[Operation, ...]] = (
    *("take", "create", "verify", "take", "put", "hot", "take", "revoke", "get", "take"),
    *("create", "take", "verify", "put", "take", "hot", "create", "revoke", "take", "get"),
)
"""The cycle of operations, spread evenly, so that no kind pauses for long by chance."""
FINISH_S: Final = 5.0
"""How long calls may take after the schedule is over; a call that takes longer is cancelled."""

_REVOKED_OF_THREE: Final = 2
_RECENT: Final = 50


class ScheduledCall(Struct, frozen=True, kw_only=True):
    """One call of the schedule."""

    at_ms: float
    number: int
    operation: Operation


class Workload:
    """Makes the calls of a schedule and keeps their history; `finish_s` bounds the last ones."""

    def __init__(
        self,
        client: DrillClient,
        schedule: Iterator[ScheduledCall],
        now_ms: Callable[[], float],
        *,
        seed: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        finish_s: float = FINISH_S,
    ) -> None:
        self.calls: list[Call] = []
        self.errors = 0
        self._client = client
        self._schedule = schedule
        self._now_ms = now_ms
        self._sleep = sleep
        self._finish_s = finish_s
        self._subjects = Subjects(random.Random(seed))  # noqa: S311 - a schedule that can be repeated, no secret
        self._open: set[asyncio.Task[CallResult]] = set()

    async def run(self) -> None:
        """Make every call when it is due, and wait until all have ended."""
        try:
            for due in self._schedule:
                await self._sleep(max(due.at_ms - self._now_ms(), 0) / 1000)
                self._begin(due)
            if self._open:
                await asyncio.wait(self._open, timeout=self._finish_s)
        finally:
            for task in self._open:
                task.cancel()
            if self._open:
                await asyncio.wait(self._open)
            await asyncio.sleep(0)  # callbacks record the cancelled calls, one iteration of the loop later

    def _begin(self, due: ScheduledCall) -> None:
        operation, subject = self._subjects.choose(due.operation, due.number)
        task = asyncio.get_running_loop().create_task(self._client.call(operation, subject))
        self._open.add(task)
        task.add_done_callback(partial(self._on_end, operation, subject, due.at_ms, self._now_ms()))

    def _on_end(
        self, operation: Operation, subject: str, due_ms: float, began_ms: float, task: asyncio.Task[CallResult]
    ) -> None:
        self._open.discard(task)
        error = asyncio.CancelledError("cut off") if task.cancelled() else task.exception()
        result = task.result() if error is None else CallResult()
        call = Call(
            operation=operation,
            id=subject,
            due_ms=due_ms,
            began_ms=began_ms,
            ended_ms=self._now_ms(),
            failure=None if error is None else self._client.failure(error),
            error="" if error is None else f"{type(error).__name__}: {error}"[:200],
            accepted=result.accepted,
            durable=result.durable,
            degraded=result.degraded,
            foreign=result.foreign,
        )
        self.calls.append(call)
        self.errors += error is not None
        self._subjects.record(call)


class Subjects:
    """Chooses the subject of an operation: a new one, or one of an earlier call that was answered."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._alive: deque[str] = deque(maxlen=_RECENT)
        self._to_revoke: deque[str] = deque()
        self._revoked: deque[str] = deque(maxlen=_RECENT)
        self._stored: deque[str] = deque(maxlen=_RECENT)
        self._created = 0

    def choose(self, operation: Operation, number: int) -> tuple[Operation, str]:
        """Return the operation and its subject; if it has nothing to work on yet, return a create or a put instead."""
        match operation:
            case "revoke" if self._to_revoke:
                return operation, self._to_revoke.popleft()
            case "verify" if self._alive or self._revoked:
                return operation, self._any_session()
            case "get" if self._stored:
                return operation, self._random.choice(self._stored)
            case "verify" | "revoke" | "create":
                return "create", f"create-{number}"
            case "get" | "put":
                return "put", f"put-{number}"
            case "hot":
                return operation, f"hot-{number}"
            case "take":
                return operation, f"take-{number}"

    def record(self, call: Call) -> None:
        """Record what the call created or revoked.

        Of three sessions one is never revoked, so that there are survivors to count in the end.
        """
        if call.failure is not None:
            return
        if call.operation == "create" and call.accepted:
            self._created += 1
            self._alive.append(call.id)
            if self._created % 3 < _REVOKED_OF_THREE:
                self._to_revoke.append(call.id)
        elif call.operation == "revoke":
            self._revoked.append(call.id)
        elif call.operation == "put" and not call.degraded:
            self._stored.append(call.id)

    def _any_session(self) -> str:
        """Return a random session: one that was created or one that was revoked, with equal chance."""
        kinds = [kind for kind in (self._alive, self._revoked) if kind]
        return self._random.choice(self._random.choice(kinds))


def schedule(rate: float, seed: int) -> Iterator[ScheduledCall]:
    """Yield calls without end, evenly spread at `rate` a second, from a random position in the pattern."""
    offset = random.Random(seed).randrange(len(PATTERN))  # noqa: S311 - a schedule that can be repeated, no secret
    for number in count():
        yield ScheduledCall(
            at_ms=number * 1000 / rate, number=number, operation=PATTERN[(number + offset) % len(PATTERN)]
        )
