"""Attempts at a sign-up: charged before their outcome is known, and refunded if they end without one.

So an overload, an outage or a client that leaves charges no one. What has been hashed is never refunded for ending
early, so that no caller learns anything, or makes this process hash, free of charge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tollhouse.limits.decision import Decision, Take, TakeAllResult, longest_refusal
from tollhouse.limits.limiter import Limiter
from tollhouse.runtime.background import BackgroundTasks

SIGN_UP_POLICY: Final = "signup"
"""The policy that the limiter must have; its keys are `address:…`."""


def sign_up_takes(address: str) -> tuple[Take, ...]:
    """Return what a sign-up takes: one unit of its address."""
    return (Take(policy=SIGN_UP_POLICY, key=f"address:{address}"),)


class Attempt:
    """One attempt that was charged, at `began_ms` or later, and stays so if it was `hashed`."""

    def __init__(self, taken: Sequence[Decision], began_ms: int) -> None:
        self.taken = taken
        self.began_ms = began_ms
        self.hashed = False

    def on_begin(self) -> None:
        """Note that the hash begins: from here on the attempt stays charged."""
        self.hashed = True


class Attempts:
    """Charges attempts, and settles them in tasks of their own, which a cancelled caller does not end."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._tasks = BackgroundTasks()

    def cached_refusal(self, takes: Sequence[Take]) -> Decision | None:
        """Return a cached refusal, or None; while there is one, a flood of attempts costs no store anything."""
        return self._limiter.cached_refusal(takes)

    async def charge(self, takes: Sequence[Take]) -> Attempt | Decision:
        """Charge an attempt to all its limits, or return the refusal that lasts longest.

        A refusal charges none of them.
        """
        began_ms = self._limiter.now_ms()
        charging = self._tasks.start(self._limiter.take_all(takes), "tollhouse-charge")
        try:
            result = await asyncio.shield(charging)
        except asyncio.CancelledError:
            self._tasks.start(self._undo_when_charged(charging, began_ms), "tollhouse-attempt")
            raise
        if result.allowed:
            return Attempt(result.decisions, began_ms)
        return longest_refusal(one for one in result.decisions if not one.allowed and one.reason != "all-or-nothing")

    async def settle(self, attempt: Attempt) -> None:
        """Refund what the attempt need not cost, and wait until that is done, or has failed and is logged.

        A caller that is cancelled meanwhile ends none of it.
        """
        if not attempt.hashed and (refunds := self._give_back(attempt)):
            await asyncio.wait(refunds)

    async def aclose(self) -> None:
        """Wait for what is still charged for callers that have left; the limiter waits for the refunds."""
        await self._tasks.aclose()

    async def _undo_when_charged(self, charging: asyncio.Task[TakeAllResult], began_ms: int) -> None:
        result = await charging
        await self.settle(Attempt(result.decisions, began_ms))

    def _give_back(self, attempt: Attempt) -> Sequence[asyncio.Task[None]]:
        """Start to refund all that was charged."""
        age_ms = self._limiter.now_ms() - attempt.began_ms
        tasks = [self._limiter.start_refund(taken, age_ms=age_ms) for taken in attempt.taken]
        return [task for task in tasks if task is not None]
