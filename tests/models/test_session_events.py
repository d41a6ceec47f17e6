"""No event is missed by readers that stop anywhere and go on, over clocks that differ and servers that lose events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY
from tollhouse.sessions.events.event import EventId, parse_id
from tollhouse.sessions.events.reader import OVERLAP_MS, SessionEventReader
from tollhouse.sessions.events.shard import PAGE

TAGS = ("00", "7f", "ff")
START_MS = 1_800_000_000_000
METRICS = Metrics(environ={})

Step = tuple[str, int, int]
tags = st.integers(0, len(TAGS) - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), tags, st.sampled_from([1, 1, 2, PAGE, PAGE + 1])),
        st.tuples(st.just("race"), tags, st.integers(0, 6)),  # a write between two calls of the next polls
        st.tuples(st.just("pass"), st.sampled_from([1, 900, 6_000, 60_000]), st.just(0)),
        st.tuples(st.just("poll"), st.just(0), st.just(0)),
        st.tuples(st.just("resume"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("fail over"), st.integers(0, 3), st.integers(0, OVERLAP_MS)),
        st.tuples(st.just("set back"), st.just(0), st.integers(1, OVERLAP_MS)),
    ),
    max_size=40,
)


class Server:
    """The streams of a server as `sessions/events` reads them: the model of what the reader relies on."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.name = 0
        self.set_back_ms = 0
        self.rows: dict[str, list[EventId]] = {tag: [] for tag in TAGS}
        self.races: list[tuple[str, int]] = []
        self.calls = 0

    def write(self, tag: str) -> None:
        """Add an event with the id that a server gives: its time, but never below that of the stream."""
        rows = self.rows[tag]
        if rows and rows[-1].ms >= self.ms:
            rows.append(EventId(ms=rows[-1].ms, sequence=rows[-1].sequence + 1, tag=tag))
        else:
            rows.append(EventId(ms=self.ms, tag=tag))

    def set_back(self, ms: int) -> None:
        """Set the clock back, in all by no more than a reader goes back."""
        ms = min(ms, OVERLAP_MS - self.set_back_ms)
        self.ms -= ms
        self.set_back_ms += ms

    def fail_over(self, lost: int, behind_ms: int) -> set[EventId]:
        """Go on as another server, with a clock behind and without the last events of a stream; return these."""
        self.name += 1
        self.set_back(behind_ms)
        rows = self.rows[TAGS[self.name % len(TAGS)]]
        gone = set(rows[len(rows) - lost :]) if lost else set()
        del rows[len(rows) - len(gone) :]
        return gone

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any], *, waited_ms: int = 0) -> list[Any]:
        """Answer as the script does, a millisecond after every other call, and after the writes that come before it."""
        after, most, _, primary = args
        assert (script, primary, waited_ms) == ("sessions/events", PRIMARY, 0)
        self.calls += 1
        self.ms += self.calls % 2
        for tag, wait in self.races:
            if wait <= 0:
                self.write(tag)
        self.races = [(tag, wait - 1) for tag, wait in self.races if wait > 0]
        ms, _, sequence = after.partition("-")
        found = [row for row in self.rows[keys[0]] if (row.ms, row.sequence) > (int(ms), int(sequence))]
        fields = [
            (f"{row.ms}-{row.sequence}".encode(), b"1", b"created", b"ada", b"", b"", b"") for row in found[:most]
        ]
        return [self.ms, 0, str(self.name).encode(), *(field for row in fields for field in row)]


class Client:
    """A client that remembers the id of the last event that it saw, and nothing else."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.seen: set[EventId] = set()
        self._last: str | None = None
        self._recent: list[str] = []
        self._reader = self._open()

    def _open(self) -> SessionEventReader:
        after = None if self._last is None else parse_id(self._last)
        return SessionEventReader(self._server, METRICS, {tag: tag for tag in TAGS}, after)

    async def poll(self) -> bool:
        """Read once; return whether there is more."""
        batch = await self._reader.read()
        ids = [event.id for event in batch.events]
        places = [place for one in ids if (place := parse_id(one)) is not None]
        assert places == sorted(places)
        assert len(places) <= 2 * PAGE * len(TAGS)
        self.seen.update(places)
        self._recent = [*ids, batch.position]
        self._last = batch.position
        return batch.more

    def resume(self, number: int) -> None:
        """Stop within the last batch, and go on from the event that was the last to arrive."""
        seen, unseen = self._recent[: number + 1], self._recent[number + 1 : -1]
        self.seen -= {parse_id(one) for one in unseen}  # type: ignore[arg-type] - they are ids
        self._last = seen[-1] if seen else self._last
        self._recent = seen
        self._reader = self._open()


async def apply(step: Step, server: Server, client: Client) -> None:
    """Do one thing to the server, or with the client."""
    name, first, second = step
    match name:
        case "write":
            for _ in range(second):
                server.write(TAGS[first])
        case "race":
            server.races.append((TAGS[first], second))
        case "pass":
            server.ms += first
        case "poll":
            await client.poll()
        case "resume":
            client.resume(first)
        case "fail over":
            client.seen -= server.fail_over(first, second)
        case _:
            server.set_back(second)


async def unseen_after(steps: Sequence[Step]) -> set[EventId]:
    """Return the events that are kept and that the client missed."""
    server = Server()
    client = Client(server)
    await client.poll()
    for step in steps:
        await apply(step, server, client)
    while server.races:
        await client.poll()
    server.ms += 2 * OVERLAP_MS
    for _ in range(3):  # streams that were behind, then the others
        while await client.poll():
            pass
    return {row for rows in server.rows.values() for row in rows} - client.seen


LOST_AND_WRITTEN_ANEW: list[Step] = [
    *(("write", 1, 1), ("pass", 1, 0), ("poll", 0, 0)),
    *(("fail over", 1, OVERLAP_MS), ("write", 1, 1), ("pass", 6_000, 0)),
]
"""The id of the new event is below the one that was lost, and the clock is ahead again when the reader polls."""


@given(STEPS)
@example(LOST_AND_WRITTEN_ANEW)
def test_every_event_is_delivered_at_least_once(steps: list[Step]) -> None:
    """Whatever the order of writes, polls, interruptions, failovers and clocks that go back, nothing kept is missed."""
    assert asyncio.run(unseen_after(steps)) == set()
