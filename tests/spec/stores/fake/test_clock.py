"""The clock of a fake server."""

from __future__ import annotations

from tests.clocks import Clock
from tollhouse.stores.fake.clock import FakeClock


def test_a_clock_never_steps_back() -> None:
    """It runs with the process until it is stopped, stands still, moves by advance, and runs on from there."""
    process = Clock()
    clock = FakeClock(monotonic=process.monotonic_ms, start_ms=224_988)
    process.advance(10)
    readings = [clock.now_ms()]
    clock.stop()
    process.advance(100)
    readings.append(clock.now_ms())
    clock.advance(60_000)
    clock.start()
    readings.append(clock.now_ms())
    process.advance(1)
    readings.append(clock.now_ms())
    clock.stop()
    readings.append(clock.now_ms())

    assert readings == [224_998, 224_999, 284_999, 285_000, 3_600_000 + 224_999]
