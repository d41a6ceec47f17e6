"""Passwords: hashed off the loop, within bounds, under a pepper; and what may be one."""

from __future__ import annotations

import asyncio
import re
import threading
import unicodedata

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.accounts.blocklist.weakness import RULES
from tollhouse.accounts.hashing import argon2id
from tollhouse.accounts.hashing.argon2id import POOL_MEMORY_KIB, PROFILES, Profile, parallel_hashes
from tollhouse.accounts.hashing.costs import COSTS_MAX
from tollhouse.accounts.hashing.passwords import PasswordMatch, Passwords, StoredHash, default_pool
from tollhouse.accounts.hashing.pool import HashPool
from tollhouse.accounts.rules import PASSWORD_BYTES_MAX, PasswordRules, password_bytes
from tollhouse.errors import ConfigurationError, InvalidInput, Overloaded
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics

FAST = Profile(memory_kib=8, time_cost=1)
KEYRING = Keyring(secrets=(b"a secret for tests, 32 bytes or more",))
ROTATED = Keyring(secrets=(b"the next secret, also 32 bytes or more", *KEYRING.secrets))
SALT_AND_TAG = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def passwords(keyring=KEYRING, metrics=None, **options):
    return Passwords(keyring, metrics or Metrics(), **{"profile": FAST, **options})


def hashes_computed(metrics):
    return metrics.registry.get_sample_value("tollhouse_password_hash_duration_seconds_count")


async def test_a_password_verifies_against_its_own_hash_only():
    """The password matches, another does not, and two hashes of one password differ."""
    ours = passwords()

    first, second = await ours.hash(b"tandem walrus cartwheel"), await ours.hash(b"tandem walrus cartwheel")

    assert first.phc != second.phc
    assert await ours.verify(b"tandem walrus cartwheel", first)
    assert await ours.verify(b"tandem walrus cartwheel", second)
    assert not await ours.verify(b"tandem walrus cartwheels", first)


@pytest.mark.parametrize("name", ["default", "owasp"])
async def test_hashes_have_the_parameters_of_the_profile(name):
    """C-2: hashes are Argon2id with the parameters of the named profile."""
    ours = passwords(profile=PROFILES[name])

    stored = await ours.hash(b"tandem walrus cartwheel")

    expected = {"default": "$argon2id$v=19$m=65536,t=3,p=1$", "owasp": "$argon2id$v=19$m=19456,t=2,p=1$"}
    assert stored.phc.startswith(expected[name])
    assert await ours.verify(b"tandem walrus cartwheel", stored) == PasswordMatch(needs_rehash=False)


async def test_the_password_is_hashed_with_a_pepper():
    """A stolen store alone does not verify a guess: the hash is not that of the password itself."""
    stored = await passwords().hash(b"tandem walrus cartwheel")
    other = Keyring(secrets=(b"another secret for tests, 32 bytes or more",))
    moved = StoredHash(phc=stored.phc, key_id=other.key_ids()[0])

    assert not argon2id.matches(stored.phc, b"tandem walrus cartwheel")
    assert not await passwords(other).verify(b"tandem walrus cartwheel", moved)


async def test_hashes_under_an_older_secret_still_verify_and_show_their_age():
    """After a rotation the hash still verifies and needs a rehash; the new hash does not."""
    stored = await passwords().hash(b"tandem walrus cartwheel")
    rotated = passwords(ROTATED)

    renewed = await rotated.hash(b"tandem walrus cartwheel")

    assert await rotated.verify(b"tandem walrus cartwheel", stored) == PasswordMatch(needs_rehash=True)
    assert await rotated.verify(b"tandem walrus cartwheel", renewed) == PasswordMatch(needs_rehash=False)


async def test_other_parameters_show_a_hashes_age():
    """A hash that verifies but was made with other parameters needs a rehash."""
    stored = await passwords().hash(b"tandem walrus cartwheel")
    stronger = passwords(profile=Profile(memory_kib=16, time_cost=2))

    assert await stronger.verify(b"tandem walrus cartwheel", stored) == PasswordMatch(needs_rehash=True)


UNUSABLE = [
    ("no hash at all", ""),
    ("a plain text", "tandem walrus cartwheel"),
    ("argon2i", "$argon2i$v=19$m=8,t=1,p=1" + SALT_AND_TAG),
    ("an older version", "$argon2id$v=16$m=8,t=1,p=1" + SALT_AND_TAG),
    ("too much memory", "$argon2id$v=19$m=262145,t=1,p=1" + SALT_AND_TAG),
    ("too little memory", "$argon2id$v=19$m=7,t=1,p=1" + SALT_AND_TAG),
    ("too much time", "$argon2id$v=19$m=8,t=11,p=1" + SALT_AND_TAG),
    ("no time", "$argon2id$v=19$m=8,t=0,p=1" + SALT_AND_TAG),
    ("too many lanes", "$argon2id$v=19$m=128,t=1,p=9" + SALT_AND_TAG),
    ("no lanes", "$argon2id$v=19$m=8,t=1,p=0" + SALT_AND_TAG),
    ("a salt that is no base64", "$argon2id$v=19$m=8,t=1,p=1$!!!!!!!!!!!!!!!!!!!!!!$" + "A" * 43),
    ("a salt of an impossible length", "$argon2id$v=19$m=8,t=1,p=1$" + "A" * 21 + "$" + "A" * 43),
    ("a salt in a second spelling", "$argon2id$v=19$m=8,t=1,p=1$" + "A" * 21 + "B$" + "A" * 43),
    ("more after the end", "$argon2id$v=19$m=8,t=1,p=1" + SALT_AND_TAG + "\n"),
]


@pytest.mark.parametrize("phc", [phc for _, phc in UNUSABLE], ids=[what for what, _ in UNUSABLE])
async def test_a_stored_hash_that_is_foreign_or_too_dear_is_never_computed(phc):
    """Such a hash matches nothing; the answer takes one hash of ours, and is counted."""
    metrics = Metrics()
    ours = passwords(metrics=metrics)

    assert not await ours.verify(b"tandem walrus cartwheel", StoredHash(phc=phc, key_id=KEYRING.key_ids()[0]))

    assert hashes_computed(metrics) == 1
    assert metrics.registry.get_sample_value("tollhouse_state_discarded_total", {"kind": "password-hash"}) == 1


async def test_a_hash_under_a_secret_that_was_dropped_matches_nothing():
    """Without its pepper a hash cannot be verified: it is answered like a wrong password, and counted."""
    metrics = Metrics()
    stored = await passwords().hash(b"tandem walrus cartwheel")
    without = passwords(Keyring(secrets=ROTATED.secrets[:1]), metrics)

    assert not await without.verify(b"tandem walrus cartwheel", stored)

    assert hashes_computed(metrics) == 1


async def test_hashes_of_the_profile_in_use_are_always_affordable():
    """A profile above the usual budget verifies what it made; a pool with less memory refuses a stored hash of it."""
    large = Profile(memory_kib=64, time_cost=1)
    stored = await passwords(profile=large).hash(b"tandem walrus cartwheel")

    assert await passwords(profile=large).verify(b"tandem walrus cartwheel", stored)
    assert not await passwords(pool=HashPool(1, 63, Metrics())).verify(b"tandem walrus cartwheel", stored)


async def test_without_a_hash_the_work_is_the_same():
    """For an account that does not exist one hash is computed, from the first time on, and nothing matches."""
    metrics = Metrics()
    ours = passwords(metrics=metrics)

    assert not await ours.verify(b"tandem walrus cartwheel", None)

    assert hashes_computed(metrics) == 1


async def test_the_dummy_hash_costs_as_much_as_a_real_one():
    """The hash that no password has is a hash of the present parameters, as the library itself reads it."""
    phc = argon2id.dummy_hash(PROFILES["owasp"], bytes(16), bytes(32))

    assert argon2id.profile_of(phc) == PROFILES["owasp"]
    assert not PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).check_needs_rehash(phc)
    assert not argon2id.matches(argon2id.dummy_hash(FAST, bytes(16), bytes(32)), b"anything")


STRONGER = Profile(memory_kib=16, time_cost=2)


class CountingPool:
    """A pool that notes the cost of every hash with which it is told to compare."""

    def __init__(self):
        self.pool = HashPool(1, POOL_MEMORY_KIB, Metrics())
        self.memory_kib = POOL_MEMORY_KIB
        self.costs = []
        self.demands = []

    def require_place(self, *, trusted):
        self.pool.require_place(trusted=trusted)

    async def run(self, function, *arguments, **demand):
        self.costs = sorted(re.findall(r"m=\d+,t=\d+,p=\d+", str(arguments)))
        self.demands.append((demand["trusted"], demand["memory_kib"]))
        return await self.pool.run(function, *arguments, **demand)


async def test_a_wrong_password_costs_the_same_for_every_account_and_for_none():
    """After a change of the profile each guess costs a hash of both, so time tells neither age nor existence."""
    metrics, pool = Metrics(), CountingPool()
    old = await passwords().hash(b"tandem walrus cartwheel")
    ours = passwords(metrics=metrics, profile=STRONGER, pool=pool)
    new = await ours.hash(b"tandem walrus cartwheel")
    assert not await ours.verify(b"a guess", None)
    assert pool.costs == ["m=16,t=2,p=1"]  # no account of the old profile was seen yet
    costs, computed = [], []

    for stored in (old, new, None, StoredHash(phc="", key_id=old.key_id), old):
        before = hashes_computed(metrics)
        assert not await ours.verify(b"a guess", stored)
        costs.append(pool.costs)
        computed.append(hashes_computed(metrics) - before)

    assert costs == [["m=16,t=2,p=1", "m=8,t=1,p=1"]] * 5
    assert computed == [2] * 5
    assert set(pool.demands[-5:]) == {(False, 16)}  # the memory of the larger one


async def test_few_profiles_count_however_many_are_stored():
    """Who can write to the store does not make each login compute a hash of any number of profiles."""
    pool = CountingPool()
    ours = passwords(pool=pool)
    odd = [Profile(memory_kib=8 + more, time_cost=1) for more in range(1, 9)]

    for profile in odd:
        stored = StoredHash(phc=argon2id.dummy_hash(profile, bytes(16), bytes(32)), key_id=KEYRING.key_ids()[0])
        assert not await ours.verify(b"a guess", stored)
        assert len(pool.costs) <= COSTS_MAX

    assert not await ours.verify(b"a guess", None)
    assert len(pool.costs) == COSTS_MAX


async def test_a_process_can_be_told_of_costs_that_it_has_not_met():
    """Then the first guess costs a hash of each for every name; one that is above the budget is never computed."""
    pool = CountingPool()
    ours = passwords(profile=STRONGER, pool=pool)
    old = await passwords().hash(b"tandem walrus cartwheel")

    ours.expect([FAST, STRONGER, PROFILES["rfc9106-high"]])

    for stored in (None, old):
        assert not await ours.verify(b"a guess", stored)
        assert pool.costs == ["m=16,t=2,p=1", "m=8,t=1,p=1"]


async def test_a_trusted_caller_has_the_other_lane():
    """The lane of a hash is that of its caller, for a new password and for one that is verified."""
    pool = CountingPool()
    ours = passwords(pool=pool)

    stored = await ours.hash(b"tandem walrus cartwheel", trusted=True)
    assert await ours.verify(b"tandem walrus cartwheel", stored, trusted=True)
    assert await ours.verify(b"tandem walrus cartwheel", stored)

    assert pool.demands == [(True, 8), (True, 8), (False, 8)]


async def test_a_right_password_costs_its_own_hash_alone():
    """A change of the profile makes no login dearer than its hash; a renewal comes on top, as before."""
    metrics = Metrics()
    old = await passwords().hash(b"tandem walrus cartwheel")
    ours = passwords(metrics=metrics, profile=STRONGER)
    new = await ours.hash(b"tandem walrus cartwheel")

    for stored in (old, new):
        before = hashes_computed(metrics)
        assert await ours.verify(b"tandem walrus cartwheel", stored)
        assert hashes_computed(metrics) - before == 1


async def test_a_password_counts_in_one_unicode_form_and_otherwise_as_typed():
    """Composed and combining accents are one password; case, spaces and the last of 1,024 bytes matter."""
    ours = passwords()
    stored = await ours.hash(password_bytes("caf\u00e9 au lait, please "))
    longest = await ours.hash(password_bytes("x" * PASSWORD_BYTES_MAX))

    assert await ours.verify(password_bytes("cafe\u0301 au lait, please "), stored)
    assert not await ours.verify(password_bytes("Caf\u00e9 au lait, please "), stored)
    assert not await ours.verify(password_bytes("caf\u00e9 au lait, please"), stored)
    assert await ours.verify(password_bytes("x" * PASSWORD_BYTES_MAX), longest)
    assert not await ours.verify(password_bytes("x" * (PASSWORD_BYTES_MAX - 1) + "y"), longest)


@pytest.mark.parametrize(
    "password",
    ["x" * 1_025, "\u4e16" * 342, "x" * 10_000_000, "broken \ud800 character"],
    ids=["too long", "too many bytes", "far too long", "half a character"],
)
def test_a_password_is_bounded_text_at_a_login_too(password):
    """More than 1,024 bytes or half a character are refused before any work, and are not shown."""
    with pytest.raises(InvalidInput) as caught:
        password_bytes(password)

    assert caught.value.field == "password"
    assert password not in str(caught.value)


@given(st.text(max_size=50))
def test_preparing_a_password_is_nfc_and_nothing_else(password):
    """Whatever is typed is kept whole, in NFC."""
    assert password_bytes(password).decode() == unicodedata.normalize("NFC", password)


def test_passwords_need_a_secret():
    """Without TOLLHOUSE_SECRET there is no pepper, and constructing says so."""
    with pytest.raises(ConfigurationError) as refused:
        Passwords(Keyring(), Metrics())

    assert refused.value.setting == "TOLLHOUSE_SECRET"


async def test_closing_drops_queued_hashes():
    """After `close` a hash that waits for a permit is refused, and one that runs ends by itself."""
    pool, begun, gate = HashPool(1, POOL_MEMORY_KIB, Metrics()), threading.Event(), threading.Event()
    ours = passwords(pool=pool)
    work = pool.run(lambda: (begun.set(), gate.wait(10)), trusted=False, memory_kib=1)
    running = asyncio.create_task(work)
    await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.create_task(ours.hash(b"tandem walrus cartwheel"))
    await asyncio.sleep(0)

    ours.close()

    with pytest.raises(Overloaded):
        await waiting
    gate.set()
    assert await running == (None, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"memory_kib": 8, "time_cost": 0},
        {"memory_kib": 8, "time_cost": 11},
        {"memory_kib": 72, "time_cost": 1, "parallelism": 9},
        {"memory_kib": 8, "time_cost": 1, "parallelism": 0},
        {"memory_kib": 15, "time_cost": 1, "parallelism": 2},
    ],
)
def test_a_profile_out_of_bounds_is_refused(fields):
    """Parameters that Argon2 or this service would not compute are a configuration error."""
    with pytest.raises(ConfigurationError):
        Profile(**fields)


#     profile         memory_kib  cpus  permits
PERMITS = [
    ("default", 262_144, 2, 2),
    ("default", 262_144, 64, 4),
    ("owasp", 262_144, 64, 13),
    ("rfc9106-low", 65_535, 64, 1),
    ("rfc9106-high", 262_144, 64, 1),  # above the budget: one at a time
]


@pytest.mark.parametrize(("profile", "memory_kib", "cpus", "permits"), PERMITS)
def test_memory_and_processors_bound_how_many_hashes_run(profile, memory_kib, cpus, permits):
    """As many run as there are processors, and as fit into the memory, but always one."""
    assert parallel_hashes(PROFILES[profile].memory_kib, memory_kib, cpus) == permits
    assert parallel_hashes(1) >= 1


async def test_a_profile_above_the_budget_runs_one_hash_at_a_time():
    """C-2: without a pool of its own such a profile has one permit, and eight hashes may wait for it in each lane."""
    pool, gate = default_pool(PROFILES["rfc9106-high"], Metrics()), threading.Event()
    size = {"memory_kib": PROFILES["rfc9106-high"].memory_kib}
    calls = [asyncio.create_task(pool.run(gate.wait, 10, trusted=False, **size)) for _ in range(9)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await pool.run(int, trusted=False, **size)

    gate.set()
    await asyncio.gather(*calls)
    pool.close()


#    password, may it be one of ada.lovelace@example.com
CANDIDATES = [
    ("tandem walrus cartwheel", True),
    ("x7q9-kk3v-pp2m-zz8w", True),
    ("482619375028461", True),
    ("\u4e16\u754c\u306e\u5e73\u548c\u3092\u9858\u3046\u79c1\u305f\u3061\u306e\u53e4\u3044\u6b4c", True),
    ("my cat is called ada.lovelace", True),
    ("fourteen chars", False),
    ("\u00e9" * 14, False),
    ("passwordpassword", False),
    ("PASSWORD password 1!", False),
    ("p@ssw0rd12345678", False),
    ("1234567890123456", False),
    ("qwertyuiopasdfgh", False),
    ("1qaz2wsx3edc4rfv", False),
    ("zyxwvutsrqponmlkj", False),
    ("aaaaaaaaaaaaaaaaaaaa", False),
    ("x7q9x7q9x7q9x7q9x7q9", False),
    ("correct horse battery staple", False),
    ("MayTheForceBeWithYou", False),
    ("ada.lovelace@example.com", False),
    ("Ada.Lovelace Ada.Lovelace", False),
    ("ada-lovelace-2024", False),
    ("ada-lovelace-1234", False),
]


@pytest.mark.parametrize(("password", "good"), CANDIDATES)
def test_a_new_password_is_long_and_not_among_the_first_guesses(password, good):
    """Fifteen code points of any kind, neither well known, nor a pattern, nor the owner's name."""
    rules = PasswordRules()

    if good:
        rules.check(password, "ada.lovelace@example.com")
        return
    with pytest.raises(InvalidInput) as caught:
        rules.check(password, "ada.lovelace@example.com")

    assert caught.value.kind == "weak-password"
    assert password not in str(caught.value)


@pytest.mark.asvs("6.2.1")
def test_the_error_names_the_least_length():
    """A password that is too short is answered with the length that would do."""
    with pytest.raises(InvalidInput) as refused:
        PasswordRules().check("short", "ada")

    assert (refused.value.field, refused.value.kind) == ("password", "weak-password")
    assert "15" in refused.value.remedy


@pytest.mark.asvs("6.2.1")
def test_the_least_length_is_the_operators_choice_within_bounds():
    """8 to 64 code points can be asked for."""
    PasswordRules(8).check("x7q9!kk3", "ada")

    for characters in (7, 65):
        with pytest.raises(ConfigurationError):
            PasswordRules(characters)


@given(words=st.lists(st.sampled_from(["password", "qwerty", "12345", "letmein", "zzz"]), min_size=4, max_size=150))
def test_a_stretched_first_guess_stays_one(words):
    """However well-known pieces are put together, up to the longest password, they are refused."""
    with pytest.raises(InvalidInput) as refused:
        PasswordRules(8).check(" ".join(words), "ada")

    assert refused.value.kind == "weak-password"


@given(password=st.text(max_size=256), name=st.text(max_size=128))
def test_any_text_is_judged(password, name):
    """No characters, of whatever script, keep a password or a name from being judged, and each rule has a reason."""
    assert set(PasswordRules().broken(password, name)) <= set(RULES)
