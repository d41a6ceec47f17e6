"""How fast a primary is looked for: at once after a new reason, then in ever longer pauses."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from msgspec import Struct


class ResolverTiming(Struct, frozen=True, kw_only=True):
    """Times of the resolver, in seconds; the defaults are right outside tests."""

    timeout_s: float = 0.3
    """Connecting, and any one answer: who is silent delays nobody for longer."""
    pause_min_s: float = 0.02
    """The first pause before looking again; each next one is twice as long."""
    pause_max_s: float = 1.0
    """The longest pause while the primary is in doubt, or a Sentinel cannot be reached."""
    repeat_s: float = 0.25
    """How long a reason to look again waits when the same one was given before."""
    interval_s: float = 5.0
    """The longest pause while all agree."""
    promotion_poll_s: float = 0.02
    """The pause between two looks at a replica that is being promoted."""
    promotion_timeout_s: float = 4.0
    """How long such a replica is looked at."""
    failover_pause_s: float = 1.5
    """How long calls are kept from the old primary once Sentinel has chosen its successor."""
    promotion_pause_s: float = 0.06
    """How long they are kept from the new one when Sentinel announces it, which writes its settings, then cuts all."""
    quarantine_s: float = 15.0
    """How long a primary that was left is barred: Sentinel makes a replica of it after 8 to 12 s."""


class RoundSchedule:
    """The pauses between rounds; a reason that is repeated without end hastens once per `repeated_s`."""

    def __init__(
        self, timing: ResolverTiming, clock: Callable[[], float], jitter: Callable[[float, float], float]
    ) -> None:
        self._pace = timing
        self._clock = clock
        self._spread = jitter
        self._pause_s = timing.pause_min_s
        self._honoured_s: dict[str, float] = {}
        self._woken = asyncio.Event()

    def request_round(self, why: str) -> None:
        """Ask for a round now; a reason that was given a moment ago waits for the round that is due."""
        now_s = self._clock()
        if now_s - self._honoured_s.get(why, -math.inf) >= self._pace.repeat_s:
            self._honoured_s[why] = now_s
            self._pause_s = self._pace.pause_min_s
            self._woken.set()

    def reset(self) -> None:
        """Take each reason as new, and nothing as urgent: there is a new primary."""
        self._honoured_s.clear()
        self._pause_s = self._pace.pause_max_s

    async def wait(self, longest_s: float) -> None:
        """Wait until the next round is due."""
        pause_s = min(self._pause_s, longest_s)
        self._pause_s = pause_s * 2
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s * self._spread(0.75, 1.25)):
                await self._woken.wait()
        self._woken.clear()
