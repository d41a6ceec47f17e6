"""Reads what a store really holds, for specifications about what may and may not be in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from msgspec import Struct

from tests.worlds import World
from tollhouse.keys import UNNAMED

READS: dict[bytes, tuple[tuple[str, ...], tuple[str, ...]]] = {
    b"string": (("GET",), ()),
    b"hash": (("HGETALL",), ()),
    b"zset": (("ZRANGE",), ("0", "-1", "WITHSCORES")),
    b"stream": (("XRANGE",), ("-", "+")),
}


class Record(Struct, frozen=True):
    """A session's record as it is stored, and how long it still lives."""

    key: str
    fields: dict[str, str]
    left_ms: int

    @property
    def sid(self) -> str:
        return self.key.rpartition(":")[2]

    @property
    def tag(self) -> str:
        return self.key.partition("{")[2][:2]

    @property
    def end_ms(self) -> int:
        end_ms = int(self.fields["x"])
        return end_ms if "lk" in self.fields else min(int(self.fields["l"]) + int(self.fields["w"]), end_ms)


async def keys_of(world: World, store: str, pattern: str = "*") -> list[str]:
    return sorted(key.decode() for key in await world.command(store, "KEYS", pattern))


async def everything(world: World, store: str) -> AsyncIterator[tuple[str, bytes]]:
    """Return every key of a store with all that is in it, as one run of bytes."""
    for key in await keys_of(world, store):
        before, after = READS[await world.command(store, "TYPE", key)]
        yield key, b"\n".join(flat(await world.command(store, *before, key, *after)))


async def records(world: World) -> list[Record]:
    """Return every session's record."""
    found = []
    for key in await keys_of(world, "sessions", "*:sid:" + "?" * 26):
        fields = dict(pairs(await world.command("sessions", "HGETALL", key)))
        left_ms = await world.command("sessions", "PTTL", key)
        found.append(Record(key, fields, left_ms))
    return found


async def index(world: World) -> dict[tuple[str, str], int]:
    """Return (tag, sid) -> score over the indexes of all users."""
    scores: dict[tuple[str, str], int] = {}
    for key in await keys_of(world, "sessions", "*:user:*"):
        members = await world.command("sessions", "ZRANGE", key, 0, -1, "WITHSCORES")
        tag = key.partition("{")[2][:2]
        scores.update({(tag, sid): int(float(score)) for sid, score in pairs(members)})
    return scores


async def assert_sound(world: World) -> None:
    """Check what holds after any history on a clock that never stepped back.

    The indexes name the live records and no others; a score is the record's end, and so is its time to live; an index
    lives as long as its last member; a memo lives for a day longer than its record, and has no data, but that of an
    impersonation names the session that began it; nothing lives for ever but the epoch of a disabled user and
    everyone's.
    """
    found, scores = await records(world), await index(world)
    live = {(record.tag, record.sid): record.end_ms for record in found}
    assert {name: score for name, score in scores.items() if score > world.now_ms} == live
    for record in found:
        assert_close(world, record.left_ms, record.end_ms - world.now_ms)
        memo = UNNAMED.session_memo(record.tag, record.sid)
        assert_close(world, await world.command("sessions", "PTTL", memo), record.end_ms - world.now_ms + 86_400_000)
        stored = dict(pairs(await world.command("sessions", "HGETALL", memo)))
        assert stored.items() >= {"h": record.fields["h"], "d": record.fields["d"], "x": record.fields["x"]}.items()
        assert set(stored) <= {"h", "hp", "d", "x", "ge", "by"}
        assert ("by" in stored) == (record.fields.get("im") == "1")
        index_left_ms = await world.command("sessions", "PTTL", UNNAMED.user_sessions(record.tag, record.fields["d"]))
        assert index_left_ms >= record.end_ms - world.now_ms - world.real_elapsed_ms - 5
    await asyncio.gather(*(_assert_ends(world, key) for key in await keys_of(world, "sessions")))


async def _assert_ends(world: World, key: str) -> None:
    if not key.endswith(":everyone") and await world.command("sessions", "HGET", *disabled_field(key)) != b"1":
        assert await world.command("sessions", "PTTL", key) > 0, key


def assert_close(world: World, left_ms: int, expected_ms: int) -> None:
    """Check a time to live; on its own it only loses the real time that the world has existed."""
    assert expected_ms - world.real_elapsed_ms - 5 <= left_ms <= expected_ms + 5


def disabled_field(key: str) -> tuple[str, str]:
    """Return a key that can be asked for the field `dis`: the epoch itself, else one that does not exist."""
    return (key if ":epoch:" in key else "none", "dis")


def pairs(reply: Any) -> Iterable[tuple[str, str]]:
    """Return the pairs of a map or a list of pairs, however the protocol in use nests them."""
    texts = [part.decode() for part in flat(reply)]
    return zip(texts[::2], texts[1::2], strict=True)


def flat(reply: Any) -> Iterable[bytes]:
    """Return every text and number in a reply, in order."""
    match reply:
        case bytes():
            yield reply
        case dict():
            yield from flat([part for pair in reply.items() for part in pair])
        case list():
            for part in reply:
                yield from flat(part)
        case _:
            yield str(reply).encode()
