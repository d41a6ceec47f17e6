"""When the next round of discovery is due: at once after a new reason, then after exponentially longer pauses."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from msgspec import Struct

from tollhouse.stores.transport.redial import slowness
from tollhouse.stores.transport.sockets import NEXT_ADDRESS_S


class ResolverTiming(Struct, frozen=True, kw_only=True):
    """Times of a resolver, in seconds. The defaults are right outside tests."""

    timeout_s: float = 0.3
    """How long connecting, and any one reply, may take. A silent server delays a round by no more."""
    next_address_s: float = 0.1
    """How long one address of a name has to connect before the next one is tried as well."""
    pause_min_s: float = 0.02
    """The first pause between two rounds; each next one is twice as long."""
    pause_max_s: float = 1.0
    """The longest pause while the primary is in doubt, or a Sentinel cannot be reached."""
    repeat_s: float = 0.25
    """How often the same reason may request a round at once."""
    interval_s: float = 5.0
    """The longest pause while all agree."""
    promotion_poll_s: float = 0.02
    """The pause between two looks at the role of a replica that is being promoted."""
    promotion_timeout_s: float = 4.0
    """How long such a replica is watched."""
    failover_pause_s: float = 1.5
    """How long calls are kept from the old primary once Sentinel has selected its successor."""
    promotion_pause_s: float = 0.06
    """How long calls are kept from the new primary when Sentinel announces it: Sentinel then rewrites the
    configuration of that server and closes all its connections."""
    quarantine_s: float = 15.0
    """How long a former primary is not used: Sentinel makes a replica of it after 8 to 12 s."""

    @property
    def news_s(self) -> float:
        """How long it is believed that a replica is down: until the next round is overdue."""
        return 2 * (self.interval_s + self.timeout_s)


def resolver_timing(round_trip_ms: int) -> ResolverTiming:
    """Return the times for a network whose usual round trip takes so long; they are never shorter than the defaults."""
    usual, slower = ResolverTiming(), slowness(round_trip_ms)
    return ResolverTiming(
        timeout_s=usual.timeout_s * slower,
        next_address_s=min(usual.next_address_s * slower, NEXT_ADDRESS_S),
        promotion_timeout_s=usual.promotion_timeout_s * slower,
        failover_pause_s=usual.failover_pause_s * slower,
    )


class RoundSchedule:
    """Decides when the next round is due. One reason requests at most one round per `repeat_s`."""

    def __init__(
        self, timing: ResolverTiming, clock: Callable[[], float], jitter: Callable[[float, float], float]
    ) -> None:
        self._timing = timing
        self._clock = clock
        self._jitter = jitter
        self._pause_s = timing.pause_min_s
        self._requested_s: dict[str, float] = {}
        self._requested = asyncio.Event()

    def request_round(self, why: str) -> None:
        """Request a round now. A reason that was given less than `repeat_s` ago waits for the round that is due."""
        now_s = self._clock()
        if now_s - self._requested_s.get(why, -math.inf) >= self._timing.repeat_s:
            self._requested_s[why] = now_s
            self._pause_s = self._timing.pause_min_s
            self._requested.set()

    def reset(self) -> None:
        """Treat every reason as new, and start from the longest pause: there is a new primary."""
        self._requested_s.clear()
        self._pause_s = self._timing.pause_max_s

    async def wait(self, longest_s: float) -> None:
        """Wait until the next round is due, at most `longest_s` plus jitter."""
        pause_s = min(self._pause_s, longest_s)
        self._pause_s = pause_s * 2
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s * self._jitter(0.75, 1.25)):
                await self._requested.wait()
        self._requested.clear()
