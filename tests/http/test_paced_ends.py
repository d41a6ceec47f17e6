"""The end of other sessions is paced, and never refused."""

from __future__ import annotations

import asyncio

from tests.clocks import Clock
from tests.watched import ticks
from tollhouse.http.pacing import REMEMBERED, PacedEnds
from tollhouse.sessions.revoker import RevokeAllResult


class Ends:
    """Counts the ends that ran, and when, by a clock that only the test moves."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.clock = Clock()
        self.paced = PacedEnds(
            clock=lambda: self.clock.monotonic_ms() / 1000, sleep=self.clock.sleep, remembered=remembered
        )
        self.ran_ms: list[int] = []
        self.error: Exception | None = None

    def ask(self, sid: str = "one") -> asyncio.Task[RevokeAllResult]:
        return asyncio.create_task(self.paced.run(sid, self.end))

    async def end(self) -> RevokeAllResult:
        self.ran_ms.append(self.clock.monotonic_ms())
        if self.error is not None:
            raise self.error
        return RevokeAllResult(removed=len(self.ran_ms), durable=True)


async def test_a_flood_shares_one_end_a_second() -> None:
    """The first runs at once; all that come in the next second share one, which begins after they came."""
    ends = Ends()
    began_ms = ends.clock.monotonic_ms()
    first = await ends.ask()
    flood = [ends.ask() for _ in range(100)]
    await ticks()
    assert len(ends.ran_ms) == 1

    ends.clock.advance(1_000)
    results = await asyncio.gather(*flood)

    assert first.removed == 1
    assert {result.removed for result in results} == {2}
    assert ends.ran_ms == [began_ms, began_ms + 1_000]


async def test_sessions_are_paced_apart() -> None:
    """A flood of one session makes no other wait."""
    ends = Ends()
    await ends.ask()
    waiting = ends.ask()

    assert (await ends.ask("another")).removed == 2
    ends.clock.advance(1_000)
    await waiting


async def test_an_end_goes_on_when_its_caller_leaves() -> None:
    """A client that leaves ends nothing for the others, nor does its error reach them; `aclose` waits for it."""
    ends = Ends()
    await ends.ask()
    ends.error = ValueError("it fails")
    left = ends.ask()
    await ticks()

    left.cancel()
    await ticks()
    ends.clock.advance(1_000)
    await ends.paced.aclose()

    assert len(ends.ran_ms) == 2


async def test_what_is_remembered_has_a_bound() -> None:
    """Beyond it the session whose end is longest ago is forgotten."""
    ends = Ends(remembered=2)
    for sid in ("one", "two", "three"):
        await ends.ask(sid)

    await ends.ask("one")

    assert len(ends.ran_ms) == 4
