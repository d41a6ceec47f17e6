"""Reconnecting: dial, back off, dial again, with one set of times for every connection that lasts.

Pauses are exponential and jittered, so that the processes that lost one server do not come back to it in step.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.stores.transport.connection import STALL_S, Connection
from tollhouse.stores.transport.errors import CALL_FAILED

T = TypeVar("T")

_ROUND_TRIP_MS: Final = 100
_PARTS: Final = 10
"""The parts of a wait; each counts once, however late the event loop notices its end."""
Jitter = Callable[[float, float], float]
"""Returns a number between two bounds, at random."""

DIAL_FAILED: Final = (OSError, TimeoutError, ConfigurationError, *CALL_FAILED)
"""All that dialing and setting up a connection can raise; the embedded server raises ConfigurationError."""


class ConnectionTiming(Struct, frozen=True, kw_only=True):
    """The times of a store's connections, in seconds; the defaults are right outside tests."""

    connect_s: float = 1.0
    """Bound of one attempt to connect, TLS and handshake included."""
    wait_s: float = 0.5
    """Longest wait of a call for a connection."""
    start_s: float = 10.0
    """Longest wait of a call for the first start of a server of this process, beside its deadline."""
    failover_wait_s: float = 0.8
    """Longest wait of a call while Sentinel replaces the primary: only waiting helps it."""
    stall_s: float = STALL_S
    """A connection is closed when its oldest call has had no reply for so long."""
    drain_s: float = 0.3
    """Time for a primary that steps down to refuse the calls that it has not run."""
    pause_min_s: float = 0.02
    """First pause between two attempts to connect."""
    pause_max_s: float = 1.0
    """Longest pause between two attempts to connect."""
    probe_s: float = 0.25
    """Least time between the starts of two probes of an open circuit breaker."""
    role_check_s: float = 1.0
    """While calls only read, the server is asked so often whether it is the primary still."""
    heartbeat_s: float = 5.0
    """A subscription that is silent for so long gets a PING."""
    refused_pause_min_s: float = 1.0
    """First pause after a subscription that waiting cannot mend, such as one with a wrong password."""
    refused_pause_max_s: float = 30.0
    """Longest pause after a subscription that waiting cannot mend."""
    heartbeat_timeout_s: float = 1.0
    """A subscription that does not answer the PING for so long is given up."""

    max_unreplicated_s: float | None = None
    """How long a primary is trusted that no replica acknowledges; None for ever."""


TIMING: Final = ConnectionTiming()


def connection_timing(round_trip_ms: int, max_unreplicated_ms: int | None = None) -> ConnectionTiming:
    """Return the times for a network whose usual round trip takes so long; they are never shorter than the defaults."""
    slower = slowness(round_trip_ms)
    return ConnectionTiming(
        connect_s=TIMING.connect_s * slower,
        wait_s=TIMING.wait_s * slower,
        failover_wait_s=TIMING.failover_wait_s * slower,
        stall_s=TIMING.stall_s * slower,
        drain_s=TIMING.drain_s * slower,
        heartbeat_timeout_s=TIMING.heartbeat_timeout_s * slower,
        max_unreplicated_s=None if max_unreplicated_ms is None else max_unreplicated_ms / 1000,
    )


def slowness(round_trip_ms: int) -> float:
    """Return by what the default times are multiplied; they are made for round trips of up to 100 ms."""
    return max(round_trip_ms / _ROUND_TRIP_MS, 1.0)


class Backoff:
    """The pauses of one reconnect loop: each is twice as long as the one before, and up to half of it is left out."""

    def __init__(self, min_s: float, max_s: float, *, jitter: Jitter = random.uniform) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._jitter = jitter
        self._pause_s = min_s

    def next_s(self) -> float:
        """Return the pause before the next attempt."""
        pause_s = self._pause_s * self._jitter(0.5, 1.0)
        self._pause_s = min(self._pause_s * 2, self._max_s)
        return pause_s

    def reset(self) -> None:
        """Start again with the shortest pause: the server answered, or it is another one."""
        self._pause_s = self._min_s


async def redial(
    dial: Callable[[], Awaitable[T]],
    backoff: Backoff,
    *,
    on_failure: Callable[[Exception], None],
    permanent: Callable[[Exception], bool] = lambda _: False,
    give_up_s: float = math.inf,
) -> T | None:
    """Return what `dial` returns, with a pause after each of its failures.

    Return None after a `permanent` failure, or when the next attempt would begin at `give_up_s` on the loop's clock or
    later.
    """
    while True:
        try:
            return await dial()
        except DIAL_FAILED as error:
            on_failure(error)
            if permanent(error):
                return None
        pause_s = backoff.next_s()
        if asyncio.get_running_loop().time() + pause_s >= give_up_s:
            return None
        await asyncio.sleep(pause_s)


async def keep_connected(
    dial: Callable[[], Awaitable[T]],
    hold: Callable[[T], Awaitable[None]],
    backoff: Backoff,
    *,
    on_failure: Callable[[Exception], None],
    permanent: Callable[[Exception], bool] = lambda _: False,
    permanent_backoff: Backoff | None = None,
    permanent_pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Dial, `hold` the connection until it ends, and start again after a pause; run until cancelled.

    After a `permanent` failure, which only an operator can mend, the pauses are those of `permanent_backoff`, and may
    end sooner by `permanent_pause`.
    """
    while True:
        connection = await redial(dial, backoff, on_failure=on_failure, permanent=permanent)
        if connection is None:
            await permanent_pause((permanent_backoff or backoff).next_s())
        else:
            if permanent_backoff is not None:
                permanent_backoff.reset()
            await hold(connection)
            await asyncio.sleep(backoff.next_s())


async def wait_awake(task: asyncio.Task[None], wait_s: float, deadline_s: float) -> None:
    """Wait for a task while this process runs, for `wait_s` at most, and not beyond `deadline_s` on the loop's clock.

    Time in which the event loop or the machine stood still counts as little as a part of the wait: nothing could arrive
    then, and so its silence says nothing about a server.
    """
    loop = asyncio.get_running_loop()
    for _ in range(_PARTS):
        if task.done() or loop.time() >= deadline_s:
            return
        await asyncio.wait({task}, timeout=min(wait_s / _PARTS, deadline_s - loop.time()))


async def set_up(connection: Connection, steps: Awaitable[T]) -> T:
    """Return what `steps` returns; close the connection when it raises or is cancelled."""
    try:
        return await steps
    except BaseException:
        await connection.aclose()
        raise
