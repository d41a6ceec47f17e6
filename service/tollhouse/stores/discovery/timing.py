"""How fast a primary is looked for: at once after a new reason, then in ever longer pauses."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from msgspec import Struct


class Pace(Struct, frozen=True, kw_only=True):
    """Times of the resolver, in seconds; the defaults are right outside tests."""

    within_s: float = 0.3
    """Connecting, and any one answer: who is silent delays nobody for longer."""
    again_s: float = 0.02
    """The first pause before looking again; each next one is twice as long."""
    doubtful_s: float = 1.0
    """The longest pause while the primary is in doubt, or a Sentinel cannot be reached."""
    repeated_s: float = 0.25
    """How long a reason to look again waits when the same one was given before."""
    healthy_s: float = 5.0
    """The longest pause while all agree."""
    chase_step_s: float = 0.02
    """The pause between two looks at a replica that is being promoted."""
    chase_s: float = 4.0
    """How long such a replica is looked at."""
    handover_s: float = 1.5
    """How long calls are kept from the old primary once Sentinel has chosen its successor."""
    braced_s: float = 0.06
    """How long they are kept from the new one when Sentinel announces it, which writes its settings, then cuts all."""
    quarantine_s: float = 15.0
    """How long a primary that was left is barred: Sentinel makes a replica of it after 8 to 12 s."""


class Rhythm:
    """The pauses between rounds; a reason that is repeated without end hastens once per `repeated_s`."""

    def __init__(self, pace: Pace, clock: Callable[[], float], spread: Callable[[float, float], float]) -> None:
        self._pace = pace
        self._clock = clock
        self._spread = spread
        self._pause_s = pace.again_s
        self._honoured_s: dict[str, float] = {}
        self._woken = asyncio.Event()

    def hasten(self, why: str) -> None:
        """Ask for a round now; a reason that was given a moment ago waits for the round that is due."""
        now_s = self._clock()
        if now_s - self._honoured_s.get(why, -math.inf) >= self._pace.repeated_s:
            self._honoured_s[why] = now_s
            self._pause_s = self._pace.again_s
            self._woken.set()

    def restart(self) -> None:
        """Take each reason as new, and nothing as urgent: there is a new primary."""
        self._honoured_s.clear()
        self._pause_s = self._pace.doubtful_s

    async def rest(self, longest_s: float) -> None:
        """Wait until the next round is due."""
        pause_s = min(self._pause_s, longest_s)
        self._pause_s = pause_s * 2
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s * self._spread(0.75, 1.25)):
                await self._woken.wait()
        self._woken.clear()
