"""The scripts of the cache, one by one: cache/get_or_lease, cache/fill, cache/renew, cache/release, cache/invalidate,
cache/invalidate_tags and cache/stats."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.worlds import World
from tollhouse.cache.envelope import Envelope, encode
from tollhouse.cache.key_names import ALL, IN_PROGRESS
from tollhouse.scripts import PRIMARY

ENTRY, LEASE, CLOCK = "tollhouse:cache:{0}:e", "tollhouse:@lease:{0}:e", "tollhouse:@clock:{0}"
PERMIT = "tollhouse:@permit:{0}:e"
KEYS = (ENTRY, LEASE, CLOCK)
HIT, LEASED, BUSY = 1, 2, 3
ABSENT, INVALIDATED, EPOCH, UNUSABLE = 1, 2, 3, 4
FAMILIES = "tollhouse:@families:{0}"
TOKEN, OTHER = "a" * 24, "b" * 24
CONTENT = TOKEN + "0" * 12
"""The lease of TOKEN, granted at sequence 0."""
TAG, OTHER_TAG = "1" * 16, "2" * 16
HOUR_MS, LEASE_MS = 3_600_000, 5_000
OUTDATED = 60_001


async def get_or_lease(world: World, token: str = TOKEN, primary: Any = PRIMARY, abandoned: str = "") -> list[Any]:
    return await world.stores.cache.run("cache/get_or_lease", KEYS, (primary, token, LEASE_MS, abandoned, HOUR_MS))


async def fill(world: World, sent: bytes, token: str = TOKEN, keep_ms: int = HOUR_MS, primary: Any = PRIMARY) -> bool:
    lease = token + sent[68:80].decode()
    return await world.stores.cache.run("cache/fill", KEYS, (primary, lease, keep_ms, sent)) == [1]


async def invalidate_tags(world: World, *tags: str) -> int:
    (sequence,) = await world.stores.cache.run("cache/invalidate_tags", (CLOCK,), tags)
    return sequence


async def invalidate(world: World) -> list[int]:
    return await world.stores.cache.run("cache/invalidate", (CLOCK, ENTRY, LEASE, PERMIT), (0,))


def envelope(lease: list[Any], *tags: str, body: bytes = b"body") -> bytes:
    _, now_ms, sequence, _, epoch, _ = lease
    header = Envelope(
        stored_ms=now_ms,
        fresh_until_ms=now_ms + HOUR_MS,
        load_ms=5,
        epoch=epoch.decode(),
        sequence=sequence,
        tags=tags,
    )
    return encode(header, body)


async def stored(world: World, *tags: str) -> bytes:
    """Store an envelope, and return it."""
    written = envelope(await get_or_lease(world), *tags)
    assert await fill(world, written)
    return written


async def contents(world: World) -> dict[bytes, Any]:
    """Return every key with its bytes."""
    names = await world.command("cache", "KEYS", "*")
    return {name: await world.command("cache", "DUMP", name) for name in sorted(names)}


async def test_a_lookup_that_finds_nothing_gets_the_lease(world: World):
    """cache/get_or_lease: the first to miss gets the lease, with the state of the clock before the load, and why."""
    state, now_ms, sequence, cause, epoch, found = await get_or_lease(world)

    assert (state, now_ms, sequence, cause, found) == (LEASED, world.now_ms, 0, ABSENT, CONTENT.encode())
    assert len(epoch) == 32
    assert await world.command("cache", "GET", LEASE) == CONTENT.encode()


async def test_a_lookup_while_another_loads_writes_nothing(world: World):
    """cache/get_or_lease: a second caller gets the rest of the lease, and every byte stays as it was."""
    await get_or_lease(world)
    before = await contents(world)

    state, _, _, left_ms, _, holder = await get_or_lease(world, OTHER)

    assert (state, holder) == (BUSY, CONTENT.encode())
    assert 0 < left_ms <= LEASE_MS
    assert await contents(world) == before


async def test_an_abandoned_lease_is_taken_over_under_another_token(world: World):
    """cache/get_or_lease: the lease of a dead caller is granted anew; what was sent with the first token is refused."""
    late = envelope(await get_or_lease(world))

    taken_over = await get_or_lease(world, OTHER, abandoned=CONTENT)

    assert taken_over[0] == LEASED
    assert not await fill(world, late)
    assert (await get_or_lease(world))[0] == BUSY
    assert await fill(world, envelope(taken_over), OTHER)


async def test_only_the_abandoned_lease_is_taken_over(world: World):
    """cache/get_or_lease: if the lease is another's by now, the caller waits for that one."""
    await get_or_lease(world)

    assert (await get_or_lease(world, OTHER, abandoned="c" * 24))[0] == BUSY


async def test_a_repeated_call_with_the_same_token_gets_the_same_lease(world: World):
    """cache/get_or_lease: a repeated call whose first answer was lost gets the same lease."""
    first, again = await get_or_lease(world), await get_or_lease(world)

    assert again == first


async def test_a_late_copy_of_a_call_does_not_bring_its_lease_back(world: World):
    """P6: a copy that arrives after the invalidation gets a lease of another name, so the first load is refused."""
    written = envelope(await get_or_lease(world))
    await invalidate(world)

    again = await get_or_lease(world)

    assert again[0] == LEASED
    assert not await fill(world, written)
    assert await fill(world, envelope(again))


async def test_a_late_copy_of_a_call_does_not_bring_its_epoch_back(world: World):
    """P6: if it began a clock that was lost again, the copy begins another one, and the first load is refused."""
    written = envelope(await get_or_lease(world))
    await invalidate(world)
    await world.command("cache", "DEL", CLOCK)
    await world.advance(1)

    assert (await get_or_lease(world))[0] == LEASED
    assert not await fill(world, written)


async def test_a_copy_of_a_call_keeps_the_sequence_of_its_lease(world: World):
    """cache/get_or_lease: while the lease is there, both answers are the same, whatever else was invalidated."""
    first = await get_or_lease(world)
    await invalidate_tags(world, TAG)

    again = await get_or_lease(world)

    assert again == first
    assert await fill(world, envelope(first))


async def test_a_copy_of_a_call_never_has_a_sequence_ahead_of_the_clock(world: World):
    """A lease that outlived the clock of its grant gets the sequence of the new clock."""
    for _ in range(5):
        await invalidate(world)
    await get_or_lease(world)
    await world.command("cache", "DEL", CLOCK)

    assert (await get_or_lease(world))[2] == 0


async def test_a_filled_entry_is_found(world: World):
    """cache/fill, cache/get_or_lease: an accepted envelope is returned byte for byte, and its lease is gone."""
    written = await stored(world, TAG)

    state, _, found = await get_or_lease(world, OTHER)

    assert (state, found) == (HIT, written)
    assert await world.command("cache", "EXISTS", LEASE) == 0


async def test_an_entry_expires_and_a_clock_does_not(world: World):
    """S4-60: the entry and the lease have an expiry; the clock is the stated exception."""
    await stored(world)
    assert 0 < await world.command("cache", "PTTL", ENTRY) <= HOUR_MS

    await world.advance(HOUR_MS)

    assert (await get_or_lease(world))[0] == LEASED
    assert 0 < await world.command("cache", "PTTL", LEASE) <= LEASE_MS
    assert await world.command("cache", "PTTL", CLOCK) == -1


async def test_a_fill_without_its_lease_is_refused_and_writes_nothing(world: World):
    """cache/fill: only the token that holds the lease may fill."""
    written = envelope(await get_or_lease(world))
    before = await contents(world)

    assert not await fill(world, written, token=OTHER)

    assert await contents(world) == before


async def test_a_fill_after_its_lease_expired_is_refused(world: World):
    """cache/fill: after its lease expired a caller can no longer store."""
    written = envelope(await get_or_lease(world))
    await world.advance(LEASE_MS)

    assert not await fill(world, written)


@pytest.mark.parametrize("invalidated", [TAG, ALL, IN_PROGRESS])
async def test_a_fill_is_refused_after_an_invalidation(world: World, invalidated: str):
    """P6: a value loaded before its tag, all entries or all loads in progress were invalidated is not stored."""
    written = envelope(await get_or_lease(world), TAG)
    await invalidate_tags(world, invalidated)
    before = await contents(world)

    assert not await fill(world, written)

    assert await contents(world) == before


async def confirm(world: World, sent: bytes, token: str = TOKEN) -> bool:
    lease = token + sent[68:80].decode()
    return await world.stores.cache.run("cache/confirm", (ENTRY, LEASE, CLOCK), (PRIMARY, lease, sent)) == [1]


async def test_a_confirmation_ends_the_lease_and_stores_nothing(world: World):
    """cache/confirm: it returns whether the value would be accepted."""
    header = envelope(await get_or_lease(world), body=b"")

    assert await confirm(world, header)

    assert await world.command("cache", "EXISTS", ENTRY, LEASE) == 0


async def test_a_confirmation_without_its_lease_is_refused_and_writes_nothing(world: World):
    """cache/confirm: only the token that holds the lease may end it."""
    header = envelope(await get_or_lease(world), body=b"")
    before = await contents(world)

    assert not await confirm(world, header, OTHER)

    assert await contents(world) == before


@pytest.mark.parametrize("invalidated", [TAG, ALL, IN_PROGRESS])
async def test_nothing_is_confirmed_after_an_invalidation(world: World, invalidated: str):
    """P6: a value loaded before its tag, all entries or all loads in progress were invalidated is not confirmed."""
    header = envelope(await get_or_lease(world), TAG, body=b"")
    await invalidate_tags(world, invalidated)
    before = await contents(world)

    assert not await confirm(world, header)

    assert await contents(world) == before


async def test_nothing_is_confirmed_under_another_primary(world: World):
    """cache/confirm: a failover since the lease refuses it, as it refuses a fill."""
    _, now_ms, sequence, left_ms, epoch, _ = await get_or_lease(world)
    header = envelope([0, now_ms, sequence, left_ms, epoch[:16] + b"f" * 16, b""], body=b"")

    assert not await confirm(world, header)


async def take_lease(world: World, token: str = OTHER) -> list[Any]:
    return await world.stores.cache.run("cache/take_lease", (LEASE, CLOCK), (PRIMARY, token, LEASE_MS, HOUR_MS))


async def test_a_lease_is_taken_from_a_load_and_an_entry_stays(world: World):
    """cache/take_lease: the load before is refused, the entry is found until the new load is stored."""
    before = await stored(world)
    await invalidate_tags(world, OTHER_TAG)

    now_ms, sequence, epoch, _ = await take_lease(world)
    found = (await get_or_lease(world))[2]
    anew = envelope([LEASED, now_ms, sequence, 0, epoch, b""], body=b"anew")

    assert (now_ms, sequence, found) == (world.now_ms, 1, before)
    assert 0 < await world.command("cache", "PTTL", LEASE) <= LEASE_MS
    assert await fill(world, anew, OTHER)
    assert (await get_or_lease(world))[2] == anew


async def test_a_load_whose_lease_was_taken_is_refused(world: World):
    """cache/take_lease: only the latest lease stores."""
    late = envelope(await get_or_lease(world))

    await take_lease(world)

    assert not await fill(world, late)


async def test_a_late_copy_of_a_call_does_not_bring_a_lease_back(world: World):
    """P6: cache/take_lease: after an invalidation it grants another lease; the load under the first is refused."""
    now_ms, sequence, epoch, _ = await take_lease(world)
    late = envelope([LEASED, now_ms, sequence, 0, epoch, b""])
    await invalidate(world)

    await take_lease(world)

    assert not await fill(world, late, OTHER)
    assert not await confirm(world, late, OTHER)


async def test_a_repeated_call_takes_the_same_lease(world: World):
    """cache/take_lease: a repeated call whose first answer was lost gets the same lease, whatever was invalidated."""
    first = await take_lease(world)
    await invalidate_tags(world, OTHER_TAG)

    assert await take_lease(world) == first


async def test_a_lease_that_is_taken_from_a_lost_clock_begins_a_new_epoch(world: World):
    """cache/take_lease: what was cached before is ignored afterwards."""
    before = await stored(world)
    await world.command("cache", "DEL", CLOCK)

    _, sequence, epoch, _ = await take_lease(world)

    assert (sequence, epoch[16:]) == (0, before[52:68])
    assert epoch != before[36:68]
    assert (await get_or_lease(world))[0] == BUSY


async def test_a_lease_is_renewed_by_its_holder_only(world: World):
    """cache/renew: the holder's lease is extended; a call with another token changes nothing."""
    await get_or_lease(world)
    await world.advance(LEASE_MS - 1_000)

    other = await world.stores.cache.run("cache/renew", (LEASE,), (OTHER, LEASE_MS))
    left_ms = await world.command("cache", "PTTL", LEASE)
    own = await world.stores.cache.run("cache/renew", (LEASE,), (CONTENT, LEASE_MS))

    assert (other, own) == ([0], [1])
    assert left_ms <= 1_000
    assert await world.command("cache", "PTTL", LEASE) > 1_000


@pytest.mark.parametrize("content", [CONTENT, TOKEN])
async def test_a_lease_is_released_by_its_holder_only(world: World, content: str):
    """cache/release: after it the next reader may load at once; one whose grant had no answer knows its token only."""
    await get_or_lease(world)

    other = await world.stores.cache.run("cache/release", (LEASE,), (OTHER,))
    busy = (await get_or_lease(world, OTHER))[0]
    own = await world.stores.cache.run("cache/release", (LEASE,), (content,))

    assert (other, busy, own) == ([0], BUSY, [1])
    assert (await get_or_lease(world, OTHER))[0] == LEASED


async def test_invalidating_removes_the_entry_and_the_lease_in_one_step(world: World):
    """P6, cache/invalidate: the entry is gone, the fill under way is refused, and the clock has moved."""
    await stored(world)
    assert await invalidate(world) == [1, 1]
    written = envelope(await get_or_lease(world))

    assert await invalidate(world) == [2, 0]

    assert not await fill(world, written)
    assert (await get_or_lease(world, OTHER))[0] == LEASED


async def test_a_tag_hides_earlier_loads_and_nothing_else(world: World):
    """cache/invalidate_tags: an entry with the tag is not returned again; one loaded afterwards is."""
    await stored(world, TAG)

    await invalidate_tags(world, OTHER_TAG)
    untouched = (await get_or_lease(world))[0]
    await invalidate_tags(world, TAG)
    hidden = (await get_or_lease(world))[0]
    assert await fill(world, envelope(await get_or_lease(world), TAG))

    assert (untouched, hidden, (await get_or_lease(world, OTHER))[0]) == (HIT, LEASED, HIT)


async def test_a_lost_clock_only_misses(world: World):
    """Losing the clock hides every earlier entry, and refuses loads in progress; later loads are stored."""
    await stored(world, TAG)
    await world.command("cache", "DEL", CLOCK)

    lease = await get_or_lease(world, OTHER)
    await world.command("cache", "DEL", CLOCK)
    assert not await fill(world, envelope(lease), token=OTHER)
    await world.command("cache", "DEL", LEASE)

    assert lease[0] == LEASED
    await stored(world, TAG)
    assert (await get_or_lease(world, OTHER))[0] == HIT


async def test_an_invalidation_may_come_before_the_clock_has_an_epoch(world: World):
    """A tag that was invalidated on a missing clock does not miss for ever."""
    await invalidate_tags(world, TAG)
    assert await world.command("cache", "HEXISTS", CLOCK, "e") == 0

    await stored(world, TAG)

    assert (await get_or_lease(world))[0] == HIT


async def test_another_primary_only_misses(world: World):
    """A value cached or leased under one primary is neither returned nor stored under another."""
    written = await stored(world, TAG)
    under_way = envelope(await get_or_lease(world, primary="f" * 40))

    refused = await fill(world, written, primary="f" * 40), await fill(world, under_way)

    assert refused == (False, False)
    assert (await get_or_lease(world, OTHER, primary="0" * 40))[0] == BUSY
    assert await fill(world, under_way, primary="f" * 40)
    assert (await get_or_lease(world, OTHER, primary="f" * 40))[0] == HIT


@pytest.mark.parametrize("foreign", [b"", b"R", b"R1", b"R1" + b"9" * 13, b"R2" + b"0" * 80, b"[1]", b"x" * 100])
async def test_a_foreign_value_is_a_miss(world: World, foreign: bytes):
    """Anything else under the name of an entry is not returned."""
    await world.command("cache", "SET", ENTRY, foreign)

    assert (await get_or_lease(world))[0] == LEASED


async def test_a_value_from_a_clock_too_far_ahead_is_a_miss(world: World):
    """A clock that steps back a minute changes nothing; further back, what it stored ahead is discarded."""
    await stored(world)

    world.step_back(OUTDATED - 1)
    near = (await get_or_lease(world))[0]
    world.step_back(1)
    far = (await get_or_lease(world))[0]

    assert (near, far) == (HIT, LEASED)


async def test_an_envelope_past_its_freshness_is_a_miss(world: World):
    """The time in the envelope decides, even if the server has not removed the key yet."""
    await stored(world)
    await world.command("cache", "PERSIST", ENTRY)
    await world.advance(HOUR_MS - 1)
    fresh = (await get_or_lease(world))[0]
    await world.advance(1)

    assert (fresh, (await get_or_lease(world))[0]) == (HIT, LEASED)


async def test_lookups_are_counted_by_their_outcome(world: World):
    """S4-56, cache/stats: hits, and misses by cause; a caller that only waits is not counted."""
    await stored(world, TAG)
    await get_or_lease(world, OTHER)
    await invalidate_tags(world, TAG)
    causes = [(await get_or_lease(world))[3]]
    await get_or_lease(world, OTHER)
    await fill(world, envelope(await get_or_lease(world), TAG))
    causes += [(await get_or_lease(world, primary="f" * 40))[3]]
    await world.command("cache", "DEL", LEASE)
    await world.command("cache", "SET", ENTRY, "foreign")
    causes += [(await get_or_lease(world))[3]]

    keys, sequence, hits, absent, invalidated, epoch, unusable = await world.stores.cache.run(
        "cache/stats", (CLOCK, FAMILIES), ()
    )

    assert (keys, sequence, hits, absent) == (3, 1, 1, 1)
    assert (invalidated, epoch, unusable) == (2, 1, 1)
    assert causes == [INVALIDATED, EPOCH, UNUSABLE]


async def add_counts(world: World, families_max: int, *counted: str) -> int:
    (families,) = await world.stores.cache.run("cache/add_counts", (FAMILIES,), (families_max, *counted))
    return families


async def sums(world: World) -> dict[bytes, bytes]:
    told = await world.stores.cache.run("cache/stats", (CLOCK, FAMILIES), ())
    return dict(zip(told[7::2], told[8::2], strict=True))


async def test_counts_of_families_are_added_up(world: World):
    """cache/add_counts, cache/stats: number by number; one that the caller does not know stays, a new one begins."""
    await add_counts(world, 9, "model", "1 2 9007199254740000", "image", "7")

    families = await add_counts(world, 9, "model", "10 0 991 4", "image", "1 1")
    await add_counts(world, 9, "model", "1")

    assert families == 2
    assert await sums(world) == {b"model": b"12 2 9007199254740991 4", b"image": b"8 1"}


async def test_the_families_that_have_counts_are_bounded(world: World):
    """cache/add_counts: a family beyond the bound is added to `other`; those that are known go on."""
    counted = [text for number in range(5) for text in (f"family{number}", "1")]

    families = await add_counts(world, 3, *counted)
    await add_counts(world, 3, "family0", "5", "family9", "5")

    assert families == 4
    assert await sums(world) == {b"family0": b"6", b"family1": b"1", b"family2": b"1", b"other": b"7"}


async def test_every_script_runs_on_the_servers_own_clock(embedded: World):
    """With now_ms 0 the time is the server's: lease, fill, read and invalidate work the same."""
    embedded.step_back(embedded.now_ms)

    _, now_ms, *_ = await get_or_lease(embedded)
    written = await stored(embedded, TAG)
    found = await get_or_lease(embedded, OTHER)
    await invalidate_tags(embedded, TAG)

    assert abs(now_ms - time.time() * 1000) < 60_000
    assert (found[0], found[2]) == (HIT, written)
    assert (await get_or_lease(embedded))[0] == LEASED
