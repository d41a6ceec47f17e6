"""The workload: real operations that are due by a schedule, whether the ones before them are answered or not.

An open loop: a call that hangs does not keep the next ones from being made, and its latency counts from the moment
at which it was due. So a stall costs every call that fell into it, as it would cost real users.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.client import Answer, Client
from tollhouse.drill.results.history import Call, Operation

PATTERN: Final[tuple[Operation, ...]] = (
    *("take", "create", "verify", "take", "put", "hot", "take", "revoke", "get", "take"),
    *("create", "take", "verify", "put", "take", "hot", "create", "revoke", "take", "get"),
)
"""One round of operations, spread evenly, so that no kind is silent for long by chance."""
FINISH_S: Final = 5.0
"""How long calls are waited for when the schedule is over; whatever hangs longer is cut off."""

_ENDED_OF_THREE: Final = 2
_RECENT: Final = 50


class Due(Struct, frozen=True, kw_only=True):
    """One call of the schedule."""

    at_ms: float
    number: int
    operation: Operation


class Workload:
    """Makes the calls of a schedule and keeps their history."""

    def __init__(self, client: Client, schedule: Iterator[Due], now_ms: Callable[[], float], *, seed: int) -> None:
        self.calls: list[Call] = []
        self.errors = 0
        self._client = client
        self._schedule = schedule
        self._now_ms = now_ms
        self._subjects = Subjects(random.Random(seed))  # noqa: S311 - a schedule that can be repeated, no secret
        self._open: set[asyncio.Task[Answer]] = set()

    async def run(self) -> None:
        """Make every call when it is due; return when all have ended."""
        try:
            for due in self._schedule:
                await asyncio.sleep(max(due.at_ms - self._now_ms(), 0) / 1000)
                self._begin(due)
            if self._open:
                await asyncio.wait(self._open, timeout=FINISH_S)
        finally:
            for task in self._open:
                task.cancel()
            if self._open:
                await asyncio.wait(self._open)
            await asyncio.sleep(0)  # what was cut off is written down by callbacks, which run a turn later

    def _begin(self, due: Due) -> None:
        operation, subject = self._subjects.choose(due.operation, due.number)
        task = asyncio.get_running_loop().create_task(self._client.call(operation, subject))
        self._open.add(task)
        task.add_done_callback(partial(self._ended, operation, subject, due.at_ms, self._now_ms()))

    def _ended(
        self, operation: Operation, subject: str, due_ms: float, began_ms: float, task: asyncio.Task[Answer]
    ) -> None:
        self._open.discard(task)
        error = asyncio.CancelledError("cut off") if task.cancelled() else task.exception()
        answer = task.result() if error is None else Answer()
        call = Call(
            operation=operation,
            id=subject,
            due_ms=due_ms,
            began_ms=began_ms,
            ended_ms=self._now_ms(),
            failure=None if error is None else self._client.failure(error),
            error="" if error is None else f"{type(error).__name__}: {error}"[:200],
            accepted=answer.accepted,
            durable=answer.durable,
            degraded=answer.degraded,
            foreign=answer.foreign,
        )
        self.calls.append(call)
        self.errors += error is not None
        self._subjects.learn(call)


class Subjects:
    """Chooses on what an operation works: on something new, or on what an earlier call was answered for."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._alive: deque[str] = deque(maxlen=_RECENT)
        self._to_end: deque[str] = deque()
        self._over: deque[str] = deque(maxlen=_RECENT)
        self._stored: deque[str] = deque(maxlen=_RECENT)
        self._created = 0

    def choose(self, operation: Operation, number: int) -> tuple[Operation, str]:
        """Give the operation and its subject; where there is nothing yet to work on, something is begun instead."""
        match operation:
            case "revoke" if self._to_end:
                return operation, self._to_end.popleft()
            case "verify" if self._alive or self._over:
                return operation, self._known()
            case "get" if self._stored:
                return operation, self._chance.choice(self._stored)
            case "verify" | "revoke" | "create":
                return "create", f"create-{number}"
            case "get" | "put":
                return "put", f"put-{number}"
            case "hot":
                return operation, f"hot-{number}"
            case "take":
                return operation, f"take-{number}"

    def learn(self, call: Call) -> None:
        """Take notice of what there is now: of three sessions one stays, so that it can be looked for in the end."""
        if call.failure is not None:
            return
        if call.operation == "create" and call.accepted:
            self._created += 1
            self._alive.append(call.id)
            if self._created % 3 < _ENDED_OF_THREE:
                self._to_end.append(call.id)
        elif call.operation == "revoke":
            self._over.append(call.id)
        elif call.operation == "put" and not call.degraded:
            self._stored.append(call.id)

    def _known(self) -> str:
        """Pick a session that was begun or one that was ended, in turn by chance."""
        kinds = [kind for kind in (self._alive, self._over) if kind]
        return self._chance.choice(self._chance.choice(kinds))


def schedule(rate: float, seed: int) -> Iterator[Due]:
    """Spread calls evenly, `rate` a second and without end, beginning somewhere in the pattern."""
    offset = random.Random(seed).randrange(len(PATTERN))  # noqa: S311 - a schedule that can be repeated, no secret
    for number in count():
        yield Due(at_ms=number * 1000 / rate, number=number, operation=PATTERN[(number + offset) % len(PATTERN)])
