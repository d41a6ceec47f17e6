"""The scripts of the cache, one by one: cache/get_or_lease, cache/fill, cache/renew, cache/release, cache/invalidate,
cache/invalidate_tags and cache/stats."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.worlds import World
from tollhouse.cache.envelope import Frame, encode
from tollhouse.cache.key_names import EVERYTHING, UNDER_WAY
from tollhouse.scripts import PRIMARY

ENTRY, LEASE, CLOCK = "tollhouse:cache:{0}:e", "tollhouse:lease:{0}:e", "tollhouse:clock:{0}"
KEYS = (ENTRY, LEASE, CLOCK)
HIT, LEASED, BUSY = 1, 2, 3
TOKEN, OTHER = "a" * 24, "b" * 24
TAG, OTHER_TAG = "1" * 16, "2" * 16
HOUR_MS, LEASE_MS, MARKS_MS = 3_600_000, 5_000, 7_200_000
OUTDATED = 60_001


async def look(world: World, token: str = TOKEN, primary: Any = PRIMARY) -> list[Any]:
    return await world.stores.cache.run("cache/get_or_lease", KEYS, (primary, token, LEASE_MS))


async def fill(world: World, frame: bytes, token: str = TOKEN, keep_ms: int = HOUR_MS, primary: Any = PRIMARY) -> bool:
    return await world.stores.cache.run("cache/fill", KEYS, (primary, token, keep_ms, frame)) == [1]


async def mark(world: World, *tags: str) -> int:
    (sequence,) = await world.stores.cache.run("cache/invalidate_tags", (CLOCK,), (MARKS_MS, *tags))
    return sequence


async def invalidate(world: World) -> list[int]:
    return await world.stores.cache.run("cache/invalidate", (CLOCK, ENTRY, LEASE), ())


def frame(lease: list[Any], *tags: str, body: bytes = b"body") -> bytes:
    _, now_ms, sequence, _, epoch, _ = lease
    header = Frame(
        stored_ms=now_ms,
        fresh_until_ms=now_ms + HOUR_MS,
        load_ms=5,
        epoch=epoch.decode(),
        sequence=sequence,
        tags=tags,
    )
    return encode(header, body)


async def stored(world: World, *tags: str) -> bytes:
    """Store a frame, and give it."""
    written = frame(await look(world), *tags)
    assert await fill(world, written)
    return written


async def contents(world: World) -> dict[bytes, Any]:
    """Give every key with its bytes."""
    names = await world.command("cache", "KEYS", "*")
    return {name: await world.command("cache", "DUMP", name) for name in sorted(names)}


async def test_a_lookup_that_finds_nothing_gets_the_lease(world: World):
    """cache/get_or_lease: the first to miss is granted the lease, with the state of the clock from before the load."""
    state, now_ms, sequence, left_ms, epoch, found = await look(world)

    assert (state, now_ms, sequence, left_ms, found) == (LEASED, world.now_ms, 0, LEASE_MS, b"")
    assert len(epoch) == 32
    assert await world.command("cache", "GET", LEASE) == TOKEN.encode()


async def test_a_lookup_while_another_loads_writes_nothing(world: World):
    """cache/get_or_lease: whoever comes second learns how long the lease lives, and leaves every byte as it was."""
    await look(world)
    before = await contents(world)

    state, _, _, left_ms, _, _ = await look(world, OTHER)

    assert state == BUSY
    assert 0 < left_ms <= LEASE_MS
    assert await contents(world) == before


async def test_asking_again_with_the_same_token_is_granted_again(world: World):
    """cache/get_or_lease: a repeated call whose first answer was lost gets the same lease."""
    first, again = await look(world), await look(world)

    assert again == first


async def test_what_was_filled_is_found(world: World):
    """cache/fill, cache/get_or_lease: an accepted frame is given byte for byte, and its lease is gone."""
    written = await stored(world, TAG)

    state, _, _, _, _, found = await look(world, OTHER)

    assert (state, found) == (HIT, written)
    assert await world.command("cache", "EXISTS", LEASE) == 0


async def test_an_entry_expires_and_a_clock_does_not(world: World):
    """S4-60: the entry and the lease have an expiry; the clock is the stated exception."""
    await stored(world)
    assert 0 < await world.command("cache", "PTTL", ENTRY) <= HOUR_MS

    await world.advance(HOUR_MS)

    assert (await look(world))[0] == LEASED
    assert 0 < await world.command("cache", "PTTL", LEASE) <= LEASE_MS
    assert await world.command("cache", "PTTL", CLOCK) == -1


async def test_a_fill_without_its_lease_is_refused_and_writes_nothing(world: World):
    """cache/fill: only the token that the lease was granted to may fill."""
    written = frame(await look(world))
    before = await contents(world)

    assert not await fill(world, written, token=OTHER)

    assert await contents(world) == before


async def test_a_fill_after_its_lease_expired_is_refused(world: World):
    """cache/fill: whoever did not renew in time has lost the right to store."""
    written = frame(await look(world))
    await world.advance(LEASE_MS)

    assert not await fill(world, written)


@pytest.mark.parametrize("invalidated", [TAG, EVERYTHING, UNDER_WAY])
async def test_a_fill_is_refused_after_an_invalidation(world: World, invalidated: str):
    """P6: what was loaded before its tag, everything or everything under way was invalidated is not stored."""
    written = frame(await look(world), TAG)
    await mark(world, invalidated)
    before = await contents(world)

    assert not await fill(world, written)

    assert await contents(world) == before


async def test_a_fill_may_only_ask(world: World):
    """cache/fill: with nothing to keep it says whether the value would be accepted, and ends the lease."""
    header = frame(await look(world), body=b"")

    assert await fill(world, header, keep_ms=0)

    assert await world.command("cache", "EXISTS", ENTRY, LEASE) == 0


async def test_a_lease_is_renewed_by_its_holder_only(world: World):
    """cache/renew: the holder's lease lives on; nobody else's call changes it."""
    await look(world)
    await world.advance(LEASE_MS - 1_000)

    other = await world.stores.cache.run("cache/renew", (LEASE,), (OTHER, LEASE_MS))
    left_ms = await world.command("cache", "PTTL", LEASE)
    own = await world.stores.cache.run("cache/renew", (LEASE,), (TOKEN, LEASE_MS))

    assert (other, own) == ([0], [1])
    assert left_ms <= 1_000
    assert await world.command("cache", "PTTL", LEASE) > 1_000


async def test_a_lease_is_released_by_its_holder_only(world: World):
    """cache/release: after it the next reader may load at once."""
    await look(world)

    other = await world.stores.cache.run("cache/release", (LEASE,), (OTHER,))
    busy = (await look(world, OTHER))[0]
    own = await world.stores.cache.run("cache/release", (LEASE,), (TOKEN,))

    assert (other, busy, own) == ([0], BUSY, [1])
    assert (await look(world, OTHER))[0] == LEASED


async def test_invalidating_removes_the_entry_and_the_lease_in_one_step(world: World):
    """P6, cache/invalidate: the entry is gone, the fill under way is refused, and the clock has moved."""
    await stored(world)
    assert await invalidate(world) == [1, 1]
    written = frame(await look(world))

    assert await invalidate(world) == [2, 0]

    assert not await fill(world, written)
    assert (await look(world, OTHER))[0] == LEASED


async def test_a_tag_hides_what_was_loaded_before_and_nothing_else(world: World):
    """cache/invalidate_tags: an entry with the tag is not given again; one loaded afterwards is."""
    await stored(world, TAG)

    await mark(world, OTHER_TAG)
    untouched = (await look(world))[0]
    await mark(world, TAG)
    hidden = (await look(world))[0]
    assert await fill(world, frame(await look(world), TAG))

    assert (untouched, hidden, (await look(world, OTHER))[0]) == (HIT, LEASED, HIT)


async def test_a_lost_clock_only_misses(world: World):
    """Losing the clock hides everything cached before, and refuses what is being loaded; then all goes on."""
    await stored(world, TAG)
    await world.command("cache", "DEL", CLOCK)

    lease = await look(world, OTHER)
    await world.command("cache", "DEL", CLOCK)
    assert not await fill(world, frame(lease), token=OTHER)
    await world.command("cache", "DEL", LEASE)

    assert lease[0] == LEASED
    await stored(world, TAG)
    assert (await look(world, OTHER))[0] == HIT


async def test_an_invalidation_may_come_before_the_clock_has_an_epoch(world: World):
    """A tag that was invalidated on a missing clock does not miss for ever."""
    await mark(world, TAG)
    assert await world.command("cache", "HEXISTS", CLOCK, "e") == 0

    await stored(world, TAG)

    assert (await look(world))[0] == HIT


async def test_another_primary_only_misses(world: World):
    """What was cached or leased under one primary is neither given nor stored under another."""
    written = await stored(world, TAG)
    under_way = frame(await look(world, primary="f" * 40))

    refused = await fill(world, written, primary="f" * 40), await fill(world, under_way)

    assert refused == (False, False)
    assert (await look(world, OTHER, primary="0" * 40))[0] == BUSY
    assert await fill(world, under_way, primary="f" * 40)
    assert (await look(world, OTHER, primary="f" * 40))[0] == HIT


@pytest.mark.parametrize("foreign", [b"", b"R", b"R1", b"R1" + b"9" * 13, b"R2" + b"0" * 80, b"[1]", b"x" * 100])
async def test_a_foreign_value_is_a_miss(world: World, foreign: bytes):
    """Whatever else lies under the name is not given."""
    await world.command("cache", "SET", ENTRY, foreign)

    assert (await look(world))[0] == LEASED


async def test_a_value_from_a_clock_too_far_ahead_is_a_miss(world: World):
    """A clock that steps back a minute changes nothing; further back, what it stored ahead is discarded."""
    await stored(world)

    world.step_back(OUTDATED - 1)
    near = (await look(world))[0]
    world.step_back(1)
    far = (await look(world))[0]

    assert (near, far) == (HIT, LEASED)


async def test_a_frame_past_its_freshness_is_a_miss(world: World):
    """The time in the frame decides, even where the server has not removed it yet."""
    await stored(world)
    await world.command("cache", "PERSIST", ENTRY)
    await world.advance(HOUR_MS - 1)
    fresh = (await look(world))[0]
    await world.advance(1)

    assert (fresh, (await look(world))[0]) == (HIT, LEASED)


async def test_marks_do_not_pile_up(world: World):
    """cache/invalidate_tags: marks older than any entry they could speak about are swept by later calls."""
    for batch in range(40):
        await mark(world, *(f"{batch:08d}{number:08d}" for number in range(50)))
    full = await world.command("cache", "HLEN", CLOCK)
    await world.advance(MARKS_MS + 1)

    for _ in range(120):
        await mark(world, TAG)

    assert full > 2_000
    assert await world.command("cache", "HLEN", CLOCK) < 10


async def test_marks_stay_while_they_matter(world: World):
    """cache/invalidate_tags: the sweep leaves every mark that may still hide an entry."""
    await mark(world, TAG)
    await world.advance(MARKS_MS)

    for _ in range(10):
        await mark(world, OTHER_TAG)

    assert await world.command("cache", "HEXISTS", CLOCK, f"t:{TAG}") == 1


async def test_lookups_are_counted_by_what_they_met(world: World):
    """S4-56, cache/stats: hits, and misses by cause; whoever only waits is not counted."""
    await stored(world, TAG)
    await look(world, OTHER)
    await mark(world, TAG)
    await look(world)
    await look(world, OTHER)
    await fill(world, frame(await look(world), TAG))
    await look(world, primary="f" * 40)
    await world.command("cache", "DEL", LEASE)
    await world.command("cache", "SET", ENTRY, "foreign")
    await look(world)

    keys, sequence, hits, absent, invalidated, epoch, unusable = await world.stores.cache.run(
        "cache/stats", (CLOCK,), ()
    )

    assert (keys, sequence, hits, absent) == (3, 1, 1, 1)
    assert (invalidated, epoch, unusable) == (2, 1, 1)


async def test_every_script_runs_on_the_servers_own_clock(embedded: World):
    """With now_ms 0 the time is the server's: the same lease, fill, find, invalidate."""
    embedded.step_back(embedded.now_ms)

    _, now_ms, *_ = await look(embedded)
    written = await stored(embedded, TAG)
    found = await look(embedded, OTHER)
    await mark(embedded, TAG)

    assert abs(now_ms - time.time() * 1000) < 60_000
    assert (found[0], found[5]) == (HIT, written)
    assert (await look(embedded))[0] == LEASED
