"""The reader of session events: it merges the streams of all hash tags into one order, and goes on from any position.

Every event has an id of time, sequence and tag, and a position names one place in the order of ids. What makes that
enough for 256 streams: a poll asks all of them, and delivers nothing younger than the server's time at its first call.
Until then no stream had an event that the poll did not see, so all that comes before a position has been delivered.

**What is guaranteed.** Each event that was written is delivered at least once, to a reader that goes on from a position
it got, while the stream keeps it (about 10,000 of a tag, 30 days). The order is guaranteed within a tag, that is for
the events of one user; over all tags it is the order of time while one server writes and its clock goes forward.

**What is repeated.** Another server may have a clock that is behind, and ids on it may be lower than those that were
delivered. So a reader that resumes begins `OVERLAP_MS` before its position, and so does one that finds another primary,
or a clock that was set back. A consumer that must not act twice compares ids.

**What may be missed** is told by `gap`: `trimmed`, the streams no longer keep all that followed the position;
`primary`, another server answers, and a failover may have lost events together with the changes that they told of, if
those were not durable; `ahead`, the position is later than the server's clock. It is not told if a clock is set back by
more than the overlap while no reader polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from tollhouse.metrics import Metrics
from tollhouse.scripts import PRIMARY, ScriptRunner
from tollhouse.sessions.events.event import EventId, SessionEvent
from tollhouse.sessions.events.shard import PAGE, Shard

OVERLAP_MS: Final = 5_000
"""How far behind its position a reader begins: more than the clocks of two servers differ."""
KEPT_EVENTS: Final = 10_000
"""The length from which on the scripts trim a stream."""
KEPT_MS: Final = 30 * 24 * 3_600_000
"""How long a stream is kept after its last event."""

_AHEAD_MS: Final = 1_000
"""How long an event may wait for the server's clock to reach its time."""
_AT_ONCE: Final = 32
"""How many calls of a poll are under way together, so that calls of others get their turn in between."""
_END: Final = "999999999999999-0"

GapReason = Literal["trimmed", "primary", "ahead"]


class SessionEventBatch(Struct, frozen=True, kw_only=True):
    """What one poll found, in order.

    A reader that begins after `position` misses nothing that follows. `gap` says why events may have been missed before
    these. If there is `more`, the next poll finds some at once.
    """

    events: tuple[SessionEvent, ...]
    position: str
    gap: GapReason | None = None
    more: bool = False


class SessionEventReader:
    """Reads the events of some streams; one `read` at a time, as often as they are wanted, about once a second."""

    def __init__(
        self,
        store: ScriptRunner,
        metrics: Metrics,
        streams: Mapping[str, str],
        after: EventId | None,
        *,
        user: str | None = None,
        kinds: Collection[str] = (),
        kept: int = KEPT_EVENTS,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._shards = tuple(Shard(tag, key) for tag, key in streams.items())
        self._begins_now = after is None
        self._position = EventId(ms=0) if after is None else after
        self._primary: bytes | None = None
        self._server_ms = 0
        self._since_ms = 0
        """Until a reader without a position has reached the time at which it began, older events are left out."""
        self._user = user
        self._kinds = frozenset(kinds)
        self._kept = kept

    async def read(self) -> SessionEventBatch:
        """Return the events that followed since the last call; raise StoreUnavailable, and go on from there later."""
        if self._primary is None:
            gap = await self._begin()
            if gap is not None:
                return self._again(gap)
        asked = self._asked()
        replies: list[Sequence[Any]] = []
        for first in range(0, len(asked), _AT_ONCE):
            calls = (self._call(shard, shard.after) for shard in asked[first : first + _AT_ONCE])
            replies.extend(await asyncio.gather(*calls))
        server_ms = min(reply[0] for reply in replies)
        if server_ms < self._server_ms or any(reply[2] != self._primary for reply in replies):
            gap: GapReason | None = None if replies[-1][2] == self._primary else "primary"
            self._rewind(server_ms, replies[-1][2])
            return self._again(gap)
        for shard, reply in zip(asked, replies, strict=True):
            shard.take(reply, server_ms)
        return self._merged(server_ms, gone=any(reply[1] for reply in replies))

    def _asked(self) -> Sequence[Shard]:
        """Return the streams to poll: while some are behind, none that has to wait for these."""
        free = [shard for shard in self._shards if not shard.waits]
        return [shard for shard in free if shard.unfinished] or free

    async def _begin(self) -> GapReason | None:
        """Find out the server's time, and from when on to read; return what is missed at once."""
        server_ms, _, primary, *_ = await self._call(self._shards[0], _END)
        if self._begins_now:
            self._since_ms = server_ms
            self._position = EventId(ms=server_ms)
        wanted_ms = self._position.ms
        self._rewind(server_ms, primary)
        if wanted_ms > server_ms + OVERLAP_MS:
            return "ahead"
        return "trimmed" if wanted_ms < server_ms - KEPT_MS else None

    async def _call(self, shard: Shard, after: str) -> Sequence[Any]:
        return await self._store.run("sessions/events", (shard.key,), (after, PAGE, self._kept, PRIMARY))

    def _rewind(self, server_ms: int, primary: bytes) -> None:
        """Begin again before the position, or before the server's time if that is earlier."""
        self._primary, self._server_ms = primary, server_ms
        self._position = EventId(ms=max(min(self._position.ms, server_ms) - OVERLAP_MS, 0))
        for shard in self._shards:
            shard.rewind(self._position.ms)

    def _merged(self, server_ms: int, *, gone: bool) -> SessionEventBatch:
        """Deliver what is due of all streams, in the order of ids."""
        horizon = min(shard.complete for shard in self._shards)
        due = [row for shard in self._shards for row in shard.due(horizon, server_ms + _AHEAD_MS)]
        due = sorted((row for row in due if row[0].ms >= self._since_ms), key=_place)
        self._position, self._server_ms = horizon, server_ms
        self._since_ms = 0 if horizon.ms >= self._since_ms else self._since_ms
        self._metrics.session("events", "gap" if gone else "ok")
        events = tuple(self._wanted(event for _, event in due))
        more = any(shard.unfinished for shard in self._shards)
        return SessionEventBatch(events=events, position=str(horizon), gap="trimmed" if gone else None, more=more)

    def _wanted(self, events: Iterable[SessionEvent | None]) -> Iterable[SessionEvent]:
        for event in events:
            if event is None:
                self._metrics.discarded_state("event")
            elif self._is_of_user(event) and (not self._kinds or event.kind in self._kinds):
                yield event

    def _is_of_user(self, event: SessionEvent) -> bool:
        """Return whether an event is about the user, or about all users."""
        return self._user is None or event.user in (None, self._user)

    def _again(self, gap: GapReason | None) -> SessionEventBatch:
        """Deliver nothing yet: the next poll begins at another place."""
        self._metrics.session("events", "gap" if gap else "ok")
        return SessionEventBatch(events=(), position=str(self._position), gap=gap, more=True)


def _place(row: tuple[EventId, SessionEvent | None]) -> EventId:
    return row[0]
