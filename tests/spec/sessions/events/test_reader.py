"""The reader of session events: one order over all streams, and positions from which nothing is missed."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from tests.lua.contract import LUA
from tests.sessions import counted, neighbour_of
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.scripts import PRIMARY
from tollhouse.sessions.events.event import EventId, parse_id
from tollhouse.sessions.events.opening import open_reader
from tollhouse.sessions.events.reader import KEPT_EVENTS, KEPT_MS, OVERLAP_MS, SessionEventReader
from tollhouse.sessions.events.shard import PAGE
from tollhouse.sessions.sessions import Sessions

SECOND_MS = 1_000
PATIENCE_S = 10
EVENTS = "sessions/events"


class Seam:
    """A store whose calls a test counts and makes fail, and whose server gets another name, or another time."""

    def __init__(self, store):
        self.store = store
        self.primary = PRIMARY
        self.keys = []
        self.failing = ""
        self.set_back_ms = 0

    async def run(self, script, keys, args):
        assert script == EVENTS
        self.keys.extend(keys)
        if self.failing in keys:
            raise StoreUnavailable("sessions", "not-sent", "the test says so")
        server_ms, *reply = await self.store.run(
            script, keys, [self.primary if arg is PRIMARY else arg for arg in args]
        )
        return [server_ms - self.set_back_ms, *reply]


@pytest.fixture
def seam(world):
    return Seam(world.stores.sessions)


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


def reader_of(world, seam, after=None, user=None, kinds=()):
    return open_reader(seam, world.keyring, world.metrics, UNNAMED, after, user, kinds)


def place_at(ms, sequence=0, tag="00"):
    return EventId(ms=ms, sequence=sequence, tag=tag)


def ago(ms):
    """Return a time of the server, which is this machine, some milliseconds ago."""
    return int(time.time() * 1000) - ms


async def add(world, place, *, user="ada", kind="created", sid="x"):
    """Write an event as the scripts do, at a place that the test chooses."""
    fields = ("at", place.ms, "kind", kind, "user", user, "sid", sid)
    stream_id = f"{place.ms}-{place.sequence}"
    await world.command("sessions", "XADD", UNNAMED.session_events(place.tag), stream_id, *fields)
    return str(place)


async def read(reader, count, gaps=()):
    """Read until there are so many events, which come in no fewer batches than they may."""
    found, told = [], []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            batch = await reader.read()
            found.extend(batch.events)
            told += [] if batch.gap is None else [batch.gap]
    assert told == list(gaps)
    return found


async def test_a_reader_gets_what_happens_from_now_on(world, sessions):
    """Each change is one event with kind, user, sid and time; what was before it began is not delivered."""
    await add(world, place_at(ago(SECOND_MS), 0, "0a"))
    reader = sessions.events()
    assert (await reader.read()).events == ()

    issued = await sessions.create("ada")
    await sessions.revoke("ada", issued.session.sid)
    await sessions.disable("eve")
    events = await read(reader, 4)

    sid = issued.session.sid
    told = [(event.kind, event.user, event.sid) for event in events]
    assert [row for row in told if row[1] == "ada"] == [("created", "ada", sid), ("revoked", "ada", sid)]
    assert [row for row in told if row[1] == "eve"] == [("disabled", "eve", None), ("revoked-all", "eve", None)]
    assert all(event.at == world.now_ms for event in events)
    assert (await reader.read()).events == ()


async def test_a_reader_goes_on_after_a_position(world, seam):
    """What was written while no reader polled is delivered to the one that goes on, and what is older is not."""
    old = await add(world, place_at(ago(60 * SECOND_MS), 0, "0a"))
    reader = reader_of(world, seam, after=old)
    assert [event.id for event in await read(reader, 1)] == [old]
    position = (await reader.read()).position

    new = [await add(world, place_at(ago(0), number, "ff")) for number in range(2)]
    resumed = reader_of(world, seam, after=position)

    assert [event.id for event in await read(resumed, 2)] == new


async def test_events_of_one_millisecond_under_several_tags_are_all_delivered(world, seam):
    """A position within a millisecond hides no event of another tag, wherever the client stopped; order is by id."""
    ms = ago(20 * SECOND_MS)
    places = [place_at(ms, number, tag) for number in range(2) for tag in ("00", "7f", "ff")]
    for place in sorted(places, key=lambda place: (place.sequence, place.tag), reverse=True)[3:]:
        await add(world, place)
    for place in places[3:]:
        await add(world, place)

    for stopped in places:
        events = await read(reader_of(world, seam, after=str(stopped)), len(places))
        assert [event.id for event in events] == [str(place) for place in places]


async def test_an_event_of_this_moment_waits_for_the_next_poll(world, seam):
    """What has the time of the poll or a later one is held back: another stream may get an event before it yet."""
    reader = reader_of(world, seam, user="ada")
    await reader.read()
    tag = next(iter(seam.keys)).partition("{")[2][:2]
    soon = await add(world, place_at(ago(-300), 0, tag))

    first = await reader.read()
    events = await read(reader, 1)

    assert first.events == ()
    assert [event.id for event in events] == [soon]
    assert parse_id(first.position) < parse_id(soon)


async def test_a_clock_that_was_set_back_holds_nothing_up(world, seam):
    """A stream whose ids are far ahead of the server's clock is delivered in its order; the position stays behind."""
    reader = reader_of(world, seam)
    await reader.read()
    ahead = [await add(world, place_at(ago(-ms), 0, "aa")) for ms in (500, 3_600_000)]

    batch = await reader.read()

    assert [event.id for event in batch.events] == ahead
    assert parse_id(batch.position).ms <= ago(0)


async def test_an_event_with_an_earlier_id_is_delivered_late(world, seam):
    """If the server's clock is set back, what it writes then has ids below the position, and is delivered all the same.

    The position follows the clock, so that a reader that goes on from it misses nothing either.
    """
    reader = reader_of(world, seam)
    before = (await reader.read()).position
    seam.set_back_ms = 60 * SECOND_MS
    late = await add(world, place_at(ago(60 * SECOND_MS), 0, "0b"))

    events = await read(reader, 1)

    assert [event.id for event in events] == [late]
    assert parse_id((await reader.read()).position) < parse_id(before)


async def test_another_primary_repeats_the_last_seconds_and_says_so(world, seam):
    """After a failover the events of the overlap come again, after the gap; older ones do not."""
    old = await add(world, place_at(ago(2 * OVERLAP_MS), 0, "0a"))
    recent = await add(world, place_at(ago(SECOND_MS), 0, "0b"))
    reader = reader_of(world, seam, after=old)
    assert len(await read(reader, 2)) == 2

    seam.primary = "another"
    events = await read(reader, 1, gaps=["primary"])

    assert [event.id for event in events] == [recent]
    assert (await reader.read()).gap is None


async def test_a_poll_that_fails_is_repeated_whole(world, seam):
    """If one stream cannot be read nothing is delivered, and the next poll has all of it."""
    reader = reader_of(world, seam)
    await reader.read()
    ids = [await add(world, place_at(ago(-1), 0, tag)) for tag in ("00", "ff")]
    seam.failing = UNNAMED.session_events("ff")

    with pytest.raises(StoreUnavailable):
        await reader.read()
    seam.failing = ""

    assert [event.id for event in await read(reader, 2)] == ids


async def test_a_backlog_is_read_in_bounded_batches(world, seam):
    """However much waits, a poll reads one page of each stream, and the order over all streams holds."""
    start = ago(3_600_000)
    busy = [await add(world, place_at(start + number, 0, "0a")) for number in range(3 * PAGE)]
    calm = [await add(world, place_at(start + number * 50, 1, "0b")) for number in range(3)]
    reader = reader_of(world, seam, after=str(place_at(start)))

    batches = [await reader.read() for _ in range(5)]

    events = [event.id for batch in batches for event in batch.events]
    assert sorted(events, key=parse_id) == events
    assert set(events) == {*busy, *calm}
    assert max(len(batch.events) for batch in batches) <= PAGE + len(calm)
    assert [batch.more for batch in batches] == [True, True, True, False, False]
    assert all(parse_id(batch.events[-1].id) <= parse_id(batch.position) for batch in batches if batch.events)
    assert len(seam.keys) == 1 + 256 + 3 + 256  # while one stream is behind, no other is polled


async def test_a_trimmed_stream_is_a_gap(world, seam):
    """If a stream is full and begins after the position, the reader says that events may be missing."""
    places = [place_at(ago(60 * SECOND_MS) + number, 0, "0a") for number in range(4)]
    for place in places:
        await add(world, place)
    streams = {"0a": UNNAMED.session_events("0a")}

    def opened(place, kept):
        return SessionEventReader(seam, world.metrics, streams, place, kept=kept)

    whole = await opened(places[0], kept=5).read()
    before = place_at(places[0].ms - OVERLAP_MS)
    trimmed = await opened(before, kept=4).read()
    in_it = await opened(place_at(places[3].ms + OVERLAP_MS), kept=4).read()

    assert (whole.gap, trimmed.gap, in_it.gap) == (None, "trimmed", None)
    assert len(trimmed.events) == 4
    assert counted(world, "events", "gap") == 1


@pytest.mark.parametrize(("offset_ms", "gap"), [(-KEPT_MS - 60_000, "trimmed"), (60_000, "ahead"), (2_000, None)])
async def test_a_position_outside_of_what_is_known_is_a_gap(world, seam, offset_ms, gap):
    """A position older than streams are kept, or ahead of the server's clock, is told; the reader goes on."""
    recent = await add(world, place_at(ago(SECOND_MS), 0, "0a"))
    reader = reader_of(world, seam, after=str(place_at(ago(-offset_ms))))

    assert [event.id for event in await read(reader, 1, gaps=[gap] if gap else [])] == [recent]


async def test_the_events_of_one_user_are_read_from_its_stream(world, sessions, seam):
    """A reader of one user asks that user's stream alone, and leaves out neighbours of the same tag."""
    reader = reader_of(world, seam, user="ada")
    await reader.read()
    await sessions.create(neighbour_of(world, "ada"))
    issued = await sessions.create("ada")

    events = await read(reader, 1)

    assert [(event.user, event.sid) for event in events] == [("ada", issued.session.sid)]
    assert len(set(seam.keys)) == 1


async def test_what_happens_to_everyone_is_about_each_user(world, sessions, seam):
    """The end of all sessions of all users has no user, and is delivered to a reader of one user, too."""
    await sessions.create("ada")
    reader = reader_of(world, seam, user="ada")
    await reader.read()
    await sessions.revoke_everyone()

    events = await read(reader, 1)

    assert [(event.kind, event.user, event.sid) for event in events][-1] == ("everyone", None, None)


async def test_only_the_kinds_that_are_wanted_are_delivered(world, sessions, seam):
    """A reader of some kinds passes over the others, and its position passes them too."""
    reader = reader_of(world, seam, user="ada", kinds=["revoked", "evicted"])
    await reader.read()
    issued = await sessions.create("ada")
    await sessions.revoke("ada", issued.session.sid)

    assert [event.kind for event in await read(reader, 1)] == ["revoked"]


async def test_what_our_scripts_did_not_write_is_passed_over(world, seam):
    """An entry of a stream that is no event is counted and left out; those behind it are delivered."""
    start = ago(60 * SECOND_MS)
    key = UNNAMED.session_events("0a")
    for number, fields in enumerate((("word", "x"), ("at", "soon", "kind", "created", "user", "ada", "sid", ""))):
        await world.command("sessions", "XADD", key, f"{start + number}-0", *fields)
    await world.command("sessions", "XADD", key, f"{start + 2}-0", "at", 1, "kind", b"\xff", "user", "ada", "sid", "")
    good = await add(world, place_at(start + 3, 0, "0a"), kind="of-a-later-version")

    events = await read(reader_of(world, seam, after=str(place_at(start))), 1)

    assert [(event.id, event.kind) for event in events] == [(good, "of-a-later-version")]
    discarded = world.metrics.registry.get_sample_value("tollhouse_state_discarded_total", {"kind": "event"})
    assert discarded == 3


def test_the_scripts_and_the_reader_agree_how_much_is_kept():
    """The length and the time of a stream are those of lib/write_event.lua."""
    source = (LUA / "lib/write_event.lua").read_text(encoding="utf-8")

    assert [int(number) for number in re.findall(r"\b[0-9]{4,}\b", source.partition("\n")[2])] == [KEPT_EVENTS, KEPT_MS]
