"""Waits for room: repeats an attempt until it is allowed, or until the time that the caller will wait is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tollhouse.clock import MonotonicClock, Sleep
from tollhouse.errors import InvalidInput

WAIT_MS_MAX: Final = 60_000
"""The longest wait of one call, in the library and over HTTP. Proxies commonly end a silent request after a minute."""


_Answer = TypeVar("_Answer")


async def attempt_within(
    wait_ms: int,
    attempt: Callable[[], Awaitable[_Answer]],
    delay_ms: Callable[[_Answer, int, int], float | None],
    *,
    clock: MonotonicClock,
    sleep: Sleep,
) -> _Answer:
    """Return the first answer that is final: `delay_ms` returns None for it.

    `delay_ms` gets an answer, the number of attempts so far and the time left, which is negative once the wait is
    over. It returns the delay before the next attempt. Raises InvalidInput if `wait_ms` is out of bounds.
    """
    if type(wait_ms) is not int or not 0 <= wait_ms <= WAIT_MS_MAX:
        raise InvalidInput("wait_ms", wait_ms, f"give a whole number from 0 to {WAIT_MS_MAX:,}")
    give_up_ms, attempts = clock() + wait_ms, 0
    while True:
        answer = await attempt()
        attempts += 1
        pause_ms = delay_ms(answer, attempts, give_up_ms - clock())
        if pause_ms is None:
            return answer
        await sleep(pause_ms / 1000)
