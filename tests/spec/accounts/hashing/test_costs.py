"""The costs of hashes: each process knows those that others have met, before its first login."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import FAST, STRONGER, WRONG, Setup
from tests.clocks import Clock
from tests.spec.stored import keys_of
from tests.watched import WatchedStore
from tollhouse.accounts.hashing.argon2id import PROFILES, Profile, dummy_hash
from tollhouse.accounts.hashing.costs import COSTS_MAX, LIFETIME_MS, REFRESH_MS, RETRY_MS, HashCosts
from tollhouse.accounts.hashing.passwords import Passwords, StoredHash
from tollhouse.accounts.outcomes import WrongCredentials
from tollhouse.keys import UNNAMED

NOTE = "accounts/note_costs"


class Process:
    """A process of a service: its passwords, and the costs that it exchanges with others."""

    def __init__(self, world, profile=FAST):
        self.world = world
        self.clock = Clock()
        self.store = WatchedStore(world.stores.accounts)
        self.costs = HashCosts(self.store, UNNAMED, monotonic=self.clock.monotonic_ms)
        self.passwords = Passwords(world.keyring, world.metrics, profile=profile, costs=self.costs)

    async def hashes_of_a_guess(self, stored=None):
        """Return how many hashes a wrong password costs."""
        count = "tollhouse_password_hash_duration_seconds_count"
        before = self.world.metrics.registry.get_sample_value(count) or 0
        assert not await self.passwords.verify(WRONG.encode(), stored)
        return self.world.metrics.registry.get_sample_value(count) - before

    def stored(self, profile):
        return StoredHash(phc=dummy_hash(profile, bytes(16), bytes(32)), key_id=self.world.keyring.key_ids()[0])


@pytest.mark.asvs("6.3.8")
async def test_after_a_change_of_the_profile_the_first_guess_costs_the_same_for_every_name(world):
    """A process that starts with another profile knows the former one: its first guess at any name costs both."""
    before = Setup(world, costs=True)
    await before.sign_up("ada")

    for user in ("ada", "nobody"):
        after = Setup(world, profile=STRONGER, costs=True)
        computed = after.hashes_computed
        assert await after.login(user, WRONG) == WrongCredentials()
        assert after.hashes_computed - computed == 2


async def test_a_cost_that_one_process_meets_is_known_to_others_within_a_minute(world):
    """A process notes what it verified, and learns what others noted, at its next guess after a minute."""
    one, other = Process(world), Process(world)
    assert await one.hashes_of_a_guess(one.stored(STRONGER)) == 2

    assert await other.hashes_of_a_guess() == 1
    for process in (one, other):
        process.clock.advance(REFRESH_MS)
        assert await process.hashes_of_a_guess() == 2

    assert [process.store.scripts for process in (one, other)] == [[NOTE] * 2] * 2


async def test_callers_who_come_together_wait_for_one_exchange(world):
    """The first guesses of a process all cost the same, and the store is asked once."""
    await Process(world, STRONGER).hashes_of_a_guess()
    process, count = Process(world), "tollhouse_password_hash_duration_seconds_count"
    before = world.metrics.registry.get_sample_value(count)

    await asyncio.gather(*(process.passwords.verify(WRONG.encode(), None) for _ in range(5)))

    assert world.metrics.registry.get_sample_value(count) - before == 10
    assert process.store.scripts == [NOTE]


async def test_a_cost_that_no_process_meets_is_forgotten(world):
    """After ninety days without a hash of it a former profile costs nothing more."""
    await Process(world, STRONGER).hashes_of_a_guess()
    await world.advance(LIFETIME_MS - REFRESH_MS)
    assert await Process(world).hashes_of_a_guess() == 2

    await world.advance(REFRESH_MS)

    assert await Process(world).hashes_of_a_guess() == 1
    await world.advance(LIFETIME_MS)
    assert await keys_of(world, "accounts") == []


async def test_only_the_costs_that_were_noted_last_count(world):
    """However many profiles there were, four count; what no hash of ours has is passed over."""
    for more in range(1, 7):
        await Process(world, Profile(memory_kib=8 + more, time_cost=1)).hashes_of_a_guess()
        await world.advance(1)
    too_large = PROFILES["rfc9106-high"].memory_kib * 1_000 + 14
    await world.stores.accounts.run(NOTE, (UNNAMED.hash_costs,), (LIFETIME_MS, 16, 999, too_large))

    assert 1 < await Process(world).hashes_of_a_guess() <= COSTS_MAX


async def test_an_outage_of_the_store_keeps_no_login_from_being_hashed(world, caplog):
    """The costs that are known count, a warning is logged, and a second later the store is asked again."""
    process = Process(world, STRONGER)
    process.store.fail()

    for _ in range(2):
        assert await process.hashes_of_a_guess() == 1

    assert process.store.scripts == [NOTE]
    assert [record.message.partition(" reason")[0] for record in caplog.records] == ["costs of hashes unknown"]
    process.store.heal()
    process.clock.advance(RETRY_MS)
    assert await process.hashes_of_a_guess() == 1
    assert await Process(world).hashes_of_a_guess() == 2


async def test_noting_costs_twice_changes_nothing(world):
    """A call whose answer was lost may be sent again."""
    run = world.stores.accounts.run

    for _ in range(2):
        assert await run(NOTE, (UNNAMED.hash_costs,), (LIFETIME_MS, 4, 65_536_031)) == [65_536_031]
