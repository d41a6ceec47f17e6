"""When the next round is due."""

from __future__ import annotations

import asyncio

from tollhouse.stores.discovery.timing import ResolverTiming, RoundSchedule

HOUR_S = 3600.0


async def test_a_repeated_reason_requests_one_round() -> None:
    """One reason requests at most one round per `repeat_s`; the others wait for the round that is due."""
    now_s = 1_000.0
    schedule = RoundSchedule(ResolverTiming(pause_min_s=HOUR_S), lambda: now_s, lambda low, _: low)
    schedule.request_round("noreplicas")
    await schedule.wait(HOUR_S)

    for _ in range(1_000):
        schedule.request_round("noreplicas")
    waiting = asyncio.ensure_future(schedule.wait(HOUR_S))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()

    now_s += ResolverTiming().repeat_s
    schedule.request_round("noreplicas")
    await waiting


async def test_after_a_reset_every_reason_is_new() -> None:
    """A new primary makes every reason count again, however short ago it was given."""
    schedule = RoundSchedule(ResolverTiming(pause_min_s=HOUR_S, pause_max_s=HOUR_S), lambda: 1.0, lambda low, _: low)
    schedule.request_round("eof")
    await schedule.wait(HOUR_S)

    schedule.reset()
    schedule.request_round("eof")

    await schedule.wait(HOUR_S)
