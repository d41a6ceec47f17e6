"""Challenges: good for one purpose, for what they are bound to, for five minutes, and once; none is stored before."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.accounts import ROTATED_SECRET
from tests.spec.stored import keys_of
from tests.worlds import START_MS
from tollhouse.accounts.passkeys.challenges import CHALLENGE_BYTES, LIFE_MS, Challenges
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace

SECRET = b"a secret for tests, 32 bytes or more"
SCRIPTS = ["accounts/spend_challenge"]


class NoStore:
    """A store that is not asked."""


def challenges_at(clock=lambda: START_MS, *, store=None, secrets=(SECRET,), namespace=UNNAMED):
    return Challenges(store or NoStore(), Keyring(secrets=secrets), namespace, clock)


@pytest.fixture
def challenges(world):
    return challenges_at(lambda: world.now_ms, store=world.stores.accounts)


@pytest.mark.asvs("6.7.2")
def test_a_challenge_is_unique_and_long_enough():
    """ASVS 6.7.2: 128 random bits, and no two alike."""
    made = {challenges_at().make("login") for _ in range(100)}

    assert {len(one) for one in made} == {CHALLENGE_BYTES}
    assert len({one[:16] for one in made}) == 100


def test_a_challenge_is_good_for_its_purpose_and_for_what_it_is_bound_to():
    """A challenge of a login is none of a step-up, and that of one session is none of another."""
    challenges = challenges_at()
    made = {
        (purpose, bound): challenges.make(purpose, bound)
        for purpose in ("login", "second-step", "step-up", "register")
        for bound in ("", "one", "another")
    }

    for (purpose, bound), challenge in made.items():
        good = [of for of in made if challenges.is_good(challenge, *of)]
        assert good == [(purpose, bound)]


def test_a_challenge_is_of_its_namespace():
    """Applications that share a secret share no challenge."""
    challenge = challenges_at(namespace=Namespace("shop")).make("login")

    assert not challenges_at().is_good(challenge, "login")


@pytest.mark.parametrize(("later_ms", "good"), [(0, True), (LIFE_MS - 1, True), (LIFE_MS, False), (10**9, False)])
def test_a_challenge_is_good_for_five_minutes(later_ms, good):
    """Its end is in it, so every process knows."""
    challenge = challenges_at().make("login")

    assert challenges_at(lambda: START_MS + later_ms).is_good(challenge, "login") is good


@given(place=st.integers(0, CHALLENGE_BYTES - 1), bits=st.integers(1, 255))
def test_no_byte_of_a_challenge_can_be_changed(place, bits):
    """What is changed anywhere is none of ours."""
    challenge = challenges_at().make("login")
    changed = bytes(byte ^ (bits if at == place else 0) for at, byte in enumerate(challenge))

    assert not challenges_at().is_good(changed, "login")


@given(st.binary(max_size=100))
def test_no_other_bytes_are_a_challenge(given):
    """Whatever a client sends."""
    assert not challenges_at().is_good(given, "login")


def test_a_rotation_of_the_secret_loses_no_challenge():
    """Those of a secret of before are good while it is configured."""
    challenge = challenges_at().make("login")

    assert challenges_at(secrets=(ROTATED_SECRET, SECRET)).is_good(challenge, "login")
    assert not challenges_at(secrets=(ROTATED_SECRET,)).is_good(challenge, "login")


async def test_nothing_is_stored_before_a_challenge_is_spent(world, challenges):
    """A flood of requests for challenges keeps nothing; one that was answered is kept until it is over by any clock."""
    for _ in range(100):
        challenges.make("login")
    assert await keys_of(world, "accounts") == []

    challenge = challenges.make("login")
    assert await challenges.use_up(challenge)

    (key,) = await keys_of(world, "accounts")
    assert 2 * LIFE_MS - 10_000 < await world.command("accounts", "PTTL", key) <= 2 * LIFE_MS


async def test_a_challenge_is_spent_once(world, challenges):
    """Of many calls at once one spends it, and none after it."""
    challenge, other = challenges.make("login"), challenges.make("login")

    spent = await asyncio.gather(*(challenges.use_up(challenge) for _ in range(10)))

    assert sorted(spent) == [False] * 9 + [True]
    assert not await challenges.use_up(challenge)
    assert await challenges.use_up(other)


async def test_a_call_that_is_repeated_has_spent_it(world):
    """A call whose reply was lost, and that is sent again, is the same call."""
    args = ("the-call", LIFE_MS)
    key = UNNAMED.spent_challenge("00" * 16)

    replies = [await world.stores.accounts.run(SCRIPTS[0], (key,), args) for _ in range(2)]

    assert replies == [[1], [1]]
    assert await world.stores.accounts.run(SCRIPTS[0], (key,), ("another-call", LIFE_MS)) == [0]
