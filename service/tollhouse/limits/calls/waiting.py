"""Waits for units: asks again when the refusal said so, as long as that lies within what the caller will wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from tollhouse.clock import MonotonicClock
from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision

WAIT_MS_MAX: Final = 60_000

Sleep = Callable[[float], Awaitable[None]]
"""Waits for some seconds."""


async def acquire(
    ask: Callable[[], Awaitable[Decision]], wait_ms: int, *, clock: MonotonicClock, sleep: Sleep
) -> Decision:
    """Ask until the answer is yes; a refusal whose wait is longer than what is left is given back at once.

    Several who wait for one key wake together, and are decided in one call, in the order in which they wake.
    """
    if type(wait_ms) is not int or not 0 <= wait_ms <= WAIT_MS_MAX:
        raise InvalidInput("wait_ms", wait_ms, f"give a whole number from 0 to {WAIT_MS_MAX:,}")
    give_up_ms = clock() + wait_ms
    while True:
        decision = await ask()
        retry_after_ms = decision.retry_after_ms
        if retry_after_ms is None or clock() + retry_after_ms > give_up_ms:
            return decision
        await sleep(retry_after_ms / 1000)
