"""Attempts at a sign-up or a login: charged before their outcome is known, and refunded if they end without one.

Parallel guesses are so counted like guesses in a row, and an overload, an outage or a client that leaves charges no
one. What has been hashed is never refunded for ending early: its outcome decides, so that no caller learns anything, or
makes this process hash, free of charge. A right password restores the limits, whatever becomes of the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

from tollhouse.errors import StoreError
from tollhouse.limits.decision import Decision, Take, TakeAllResult, longest_refusal
from tollhouse.limits.limiter import Limiter
from tollhouse.logs import Log
from tollhouse.runtime.background import BackgroundTasks

SIGN_UP_POLICY: Final = "signup"
LOGIN_POLICY: Final = "login"
LOGIN_ADDRESS_POLICY: Final = "login-address"
"""The policies that the limiter must have; their keys are `address:…` and `account:…`."""

SETTLE_S: Final = 2.0
"""How long the reset of an account's limit may take, before its attempts stay charged."""

_log = Log("tollhouse.accounts")


def sign_up_takes(address: str) -> tuple[Take, ...]:
    """Return what a sign-up takes: one unit of its address."""
    return (Take(policy=SIGN_UP_POLICY, key=f"address:{address}"),)


def login_takes(name: str, address: str) -> tuple[Take, ...]:
    """Return what a login takes: one unit of its address and of its account, together."""
    return (
        Take(policy=LOGIN_ADDRESS_POLICY, key=f"address:{address}"),
        Take(policy=LOGIN_POLICY, key=f"account:{name}"),
    )


class Attempt:
    """One attempt that was charged, at `began_ms` or later; `outcome` is None until its hash begins."""

    def __init__(self, taken: Sequence[Decision], began_ms: int) -> None:
        self.taken = taken
        self.began_ms = began_ms
        self.outcome: Literal["hashed", "right"] | None = None
        self.settling: Sequence[asyncio.Task[None]] | None = None

    def on_begin(self) -> None:
        """Note that the hash begins: from here on the attempt stays charged, unless the password is right."""
        self.outcome = "hashed"

    def on_match(self) -> None:
        """Note that the password is right."""
        self.outcome = "right"


class Attempts:
    """Charges attempts, and settles them in tasks of their own, which a cancelled caller does not end."""

    def __init__(self, limiter: Limiter, *, settle_s: float = SETTLE_S) -> None:
        self._limiter = limiter
        self._settle_s = settle_s
        self._tasks = BackgroundTasks()

    def cached_refusal(self, takes: Sequence[Take]) -> Decision | None:
        """Return a cached refusal, or None; while there is one, a flood of attempts costs no store anything."""
        return self._limiter.cached_refusal(takes)

    async def charge(self, takes: Sequence[Take]) -> Attempt | Decision:
        """Charge an attempt to all its limits, or return the refusal that lasts longest.

        A refusal charges none of them: a refused address cannot use up the attempts of an account.
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

    def begin_to_settle(self, attempt: Attempt) -> None:
        """Start to refund what the attempt need not cost, by its outcome so far; do nothing the second time."""
        if attempt.settling is None:
            attempt.settling = [] if attempt.outcome == "hashed" else self._give_back(attempt)

    async def settle(self, attempt: Attempt) -> None:
        """Refund what the attempt need not cost, and wait until that is done, or has failed and is logged.

        A caller that is cancelled meanwhile ends none of it.
        """
        self.begin_to_settle(attempt)
        if attempt.settling:
            await asyncio.wait(attempt.settling)

    async def aclose(self) -> None:
        """Wait for what is still charged or reset for callers that have left; the limiter waits for the refunds."""
        await self._tasks.aclose()

    async def _undo_when_charged(self, charging: asyncio.Task[TakeAllResult], began_ms: int) -> None:
        result = await charging
        await self.settle(Attempt(result.decisions, began_ms))

    def _give_back(self, attempt: Attempt) -> Sequence[asyncio.Task[None]]:
        """Start to refund all that was charged; a right password begins the limit of its account anew instead."""
        age_ms = self._limiter.now_ms() - attempt.began_ms
        tasks = [
            self._tasks.start(self._reset(taken), "tollhouse-reset")
            if attempt.outcome == "right" and taken.policy == LOGIN_POLICY and not taken.degraded
            else self._limiter.start_refund(taken, age_ms=age_ms)
            for taken in attempt.taken
        ]
        return [task for task in tasks if task is not None]

    async def _reset(self, taken: Decision) -> None:
        # While the store of limits is down it counts nothing, so there is no reason to refuse the login.
        try:
            async with asyncio.timeout(self._settle_s):
                await self._limiter.reset(taken.policy, taken.key)
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._settle_s} s"
            _log.warning("reset lost", extra={"policy": taken.policy, "reason": reason})
