"""A shortage of replicas: what the calls of a store do while its primary refuses writes for want of one (NOREPLICAS).

With `min-replicas-to-write` a primary does so for about a second after a failover, until a replica follows it. It is
the right server, and its connection stays. A refused call waits and is sent again, until it is answered or its deadline
is reached. The first one that is answered wakes the others, and so does a new primary.

A shortage that lasts is an outage: after `wait_s` the calls are refused at once, so that nothing queues behind them.
One of which nothing was heard for so long is over: the next refusal begins another. Scripts that only read run all the
time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Collection
from typing import Final

from tollhouse.stores.discovery.primary_history import Generation, PrimaryEvent
from tollhouse.stores.transport.redial import Backoff, Jitter

WAIT_S: Final = 3.0
"""How long a shortage may last before calls are refused at once."""
WAITING_MAX: Final = 1024
"""Bound of the calls that wait; those above it are refused at once."""
_PAUSE_MIN_S: Final = 0.02
_PAUSE_MAX_S: Final = 0.1


class ReplicaShortage:
    """The shortage of one store: when it began, and the calls that wait for its end."""

    def __init__(
        self,
        *,
        wait_s: float = WAIT_S,
        impatient: Collection[str] = (),
        waiting_max: int = WAITING_MAX,
        jitter: Jitter = random.uniform,
    ) -> None:
        self.since_s: float | None = None
        self._wait_s = wait_s
        self._impatient = impatient
        self._jitter = jitter
        self._waiting_max = waiting_max
        self._waiting = 0
        self._refused_s = -math.inf
        self._over = asyncio.Event()

    def pauses(self) -> Backoff:
        """Return the pauses of one call."""
        return shortage_pauses(self._jitter)

    async def wait(self, script: str, pauses: Backoff, deadline_s: float) -> bool:
        """Return True when a refused call is to be sent again, after a pause; False when waiting is of no use."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self.since_s is None or now_s - self._refused_s > self._wait_s:
            self.since_s = now_s
        self._refused_s = now_s
        late = now_s >= min(self.since_s + self._wait_s, deadline_s)
        if late or script in self._impatient or self._waiting >= self._waiting_max:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout_at(min(now_s + pauses.next_s(), deadline_s)):
                await self._over.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        return loop.time() < deadline_s

    def end(self) -> None:
        """Wake the calls that wait: a write was answered, or the store was closed."""
        self.since_s = None
        self._over.set()
        self._over = asyncio.Event()

    def on_primary_event(self, event: PrimaryEvent) -> None:
        """Wake the calls that wait when there is another primary."""
        if isinstance(event, Generation):
            self.end()


def shortage_pauses(jitter: Jitter) -> Backoff:
    """Return the pauses of what is sent again and again until a replica is there."""
    return Backoff(_PAUSE_MIN_S, _PAUSE_MAX_S, jitter=jitter)
