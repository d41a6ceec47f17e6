"""Accounts: sign-up and login, and what their answers do not tell."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests import watched
from tests.spec.stored import everything, keys_of, pairs
from tests.worlds import SCRIPTS
from tollhouse import keys
from tollhouse.accounts import hashing
from tollhouse.accounts.accounts import Accounts, LoggedIn, NameTaken, SignedUp, Throttled, WrongCredentials
from tollhouse.accounts.hashing import Profile
from tollhouse.accounts.names import folded_case
from tollhouse.accounts.passwords import Passwords
from tollhouse.accounts.pool import Pool
from tollhouse.accounts.rules import PasswordRules
from tollhouse.errors import InvalidInput, Overloaded
from tollhouse.keyring import Keyring
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.builtin import BUILT_IN
from tollhouse.sessions.policies import Policy
from tollhouse.sessions.sessions import SessionRefused, Sessions
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import plan

FAST = Profile(memory_kib=8, time_cost=1)
STRONGER = Profile(memory_kib=16, time_cost=1)
RIGHT = "tandem walrus cartwheel"
WRONG = "tandem walrus handstand"
HERE = "203.0.113.7"
ELSEWHERE = "2001:db8:1:2::/64"
HOUR_MS = 3_600_000
POLICIES = {
    "default": Policy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS),
    "single": Policy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=1, at_cap="refuse"),
}
ROTATED_SECRET = b"the next secret, also 32 bytes or more"


class Setup:
    """Accounts over the stores of a world, with what a specification may want to look at."""

    def __init__(self, world, *, keyring=None, profile=FAST, pool=None, stores=None):
        stores = stores or world.stores
        keyring = keyring or world.keyring
        self.metrics = world.metrics
        self.sessions = Sessions(stores.sessions, keyring, world.metrics, POLICIES)
        self.limiter = Limiter(stores.limits, BUILT_IN, keyring, world.metrics)
        self.passwords = Passwords(keyring, world.metrics, profile=profile, pool=pool)
        self.accounts = Accounts(stores.accounts, self.sessions, self.limiter, self.passwords, keyring, world.metrics)

    async def sign_up(self, user, password=RIGHT, address=HERE):
        return await self.accounts.sign_up(user, password, address=address)

    async def login(self, user, password=RIGHT, address=HERE, **options):
        return await self.accounts.login(user, password, address=address, **options)

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels) or 0

    @property
    def hashes_computed(self):
        return self.sample("tollhouse_password_hash_duration_seconds_count")

    def logins(self, outcome):
        return self.sample("tollhouse_logins_total", outcome=outcome)


@pytest.fixture
def setup(world):
    return Setup(world)


async def account(world, user):
    """Give the stored fields of an account."""
    key = keys.account(world.keyring.digest("account", user))
    return dict(pairs(await world.command("accounts", "HGETALL", key)))


async def test_who_signed_up_logs_in(world, setup):
    """C-8: sign-up makes an account, and its password opens a fresh session of that user."""
    assert await setup.sign_up("ada") == SignedUp(user="ada", durable=False)

    answer = await setup.login("ada", device="a laptop")

    assert isinstance(answer, LoggedIn)
    assert await setup.sessions.verify(answer.issued.token) == answer.issued.session
    assert (answer.issued.session.user, answer.issued.session.device) == ("ada", "a laptop")
    assert setup.logins("ok") == 1


async def test_a_name_is_given_once(world, setup):
    """Signing up for a taken name says so, changes nothing and computes no hash."""
    await setup.sign_up("ada")
    before, computed = await account(world, "ada"), setup.hashes_computed

    assert await setup.sign_up("ada", WRONG) == NameTaken(user="ada")

    assert await account(world, "ada") == before
    assert setup.hashes_computed == computed
    assert isinstance(await setup.login("ada"), LoggedIn)


async def test_of_sign_ups_at_once_one_gets_the_name(world, setup):
    """Ten sign-ups for one name at the same time make one account, with the password of the one that got it."""
    attempts = [f"{RIGHT} number {number}" for number in range(10)]

    answers = await asyncio.gather(*(setup.sign_up("ada", password) for password in attempts))

    won = [isinstance(answer, SignedUp) for answer in answers]
    assert won.count(True) == 1
    assert answers.count(NameTaken(user="ada")) == 9
    assert isinstance(await setup.login("ada", attempts[won.index(True)]), LoggedIn)


async def test_one_name_has_many_spellings(world, setup):
    """Case and the way an accent is typed make no other account: the folded spelling is the user of the session."""
    assert await setup.sign_up("Zo\u00eb") == SignedUp(user="zo\u00eb", durable=False)

    assert await setup.sign_up("ZOE\u0308") == NameTaken(user="zo\u00eb")
    answer = await setup.login("zOe\u0308")

    assert answer.issued.session.user == "zo\u00eb"


def test_folding_a_name_twice_is_folding_it_once():
    """The stored spelling stands for itself, for every character that has cases."""
    for code in range(0x20, 0x1F000):
        folded = folded_case(chr(code))
        assert folded_case(folded) == folded


#    what is wrong, the name
REFUSED_NAMES = [
    ("empty", ""),
    ("too long", "u" * 129),
    ("far too long", "u" * 10_000_000),
    ("too long when folded", "\u00df" * 100),
    ("a space in front", " ada"),
    ("a wide space at the end", "ada\u3000"),
    ("a line feed", "a\nb"),
    ("an invisible character", "a\u200bb"),
    ("half a character", "a\ud800"),
]


@pytest.mark.parametrize("user", [name for _, name in REFUSED_NAMES], ids=[what for what, _ in REFUSED_NAMES])
async def test_a_name_is_bounded_visible_text(world, setup, user):
    """A name that is too long, even when folded, or has invisible parts is refused before limits and hashes."""
    for call in (setup.sign_up, setup.login):
        with pytest.raises(InvalidInput) as caught:
            await call(user)
        assert caught.value.field == "user"

    assert await keys_of(world, "limits") == []
    assert setup.hashes_computed == 0


async def test_a_weak_password_is_refused_before_anything_is_charged(world, setup):
    """What may not be a password costs neither a unit nor a hash."""
    with pytest.raises(InvalidInput) as caught:
        await setup.sign_up("ada", "ada ada ada ada ada")

    assert caught.value.kind == "weak-password"
    assert await keys_of(world, "limits") == []
    assert setup.hashes_computed == 0


async def test_the_least_length_of_a_password_can_be_set(world):
    """Accounts take the rules that they are given."""
    setup = Setup(world)
    setup.accounts = Accounts(
        world.stores.accounts,
        setup.sessions,
        setup.limiter,
        setup.passwords,
        world.keyring,
        world.metrics,
        rules=PasswordRules(8),
    )

    assert isinstance(await setup.sign_up("ada", "x7q9!kk3"), SignedUp)


async def disable(world, user):
    await world.command("accounts", "HSET", keys.account(world.keyring.digest("account", user)), "dis", 1)


async def disable_sessions(world, user):
    digest = world.keyring.digest("session-user", user)
    await world.command("sessions", "HSET", keys.user_epoch(digest[:2], digest), "dis", 1)


async def test_a_failed_login_does_not_tell_why(world, setup):
    """P10: an unknown name, a disabled account and a wrong password get one answer, after one hash each."""
    for user in ("ada", "disabled", "halted"):
        await setup.sign_up(user)
    await disable(world, "disabled")
    await disable_sessions(world, "halted")
    answers, computed = [], []

    for user, password in [
        ("ada", WRONG),
        ("nobody", WRONG),
        ("nobody", RIGHT),
        ("disabled", WRONG),
        ("disabled", RIGHT),
        ("halted", WRONG),
        ("halted", RIGHT),
    ]:
        before = setup.hashes_computed
        answers.append(await setup.login(user, password))
        computed.append(setup.hashes_computed - before)

    assert answers == [WrongCredentials()] * 7
    assert computed == [1] * 7
    assert setup.logins("wrong") == 7


async def test_guesses_are_limited_before_they_cost_a_hash(world, setup):
    """S2-06: the sixth attempt in a minute is refused with the limiter's decision, and computes nothing."""
    await setup.sign_up("ada")
    for _ in range(5):
        assert await setup.login("ada", WRONG) == WrongCredentials()
    computed = setup.hashes_computed

    answer = await setup.login("ada", RIGHT)

    assert isinstance(answer, Throttled)
    assert answer.decision.policy == "login"
    assert answer.decision.retry_after_ms > 0
    assert setup.hashes_computed == computed
    assert setup.logins("throttled") == 1
    await world.advance(answer.decision.retry_after_ms)
    assert isinstance(await setup.login("ada", RIGHT), LoggedIn)


async def test_limits_do_not_tell_whether_an_account_exists(world, setup):
    """Known and unknown names are refused after as many attempts, and for as long."""
    await setup.sign_up("ada")
    refusals = []
    for user in ("ada", "nobody"):
        for _ in range(5):
            await setup.login(user, WRONG)
        refusals.append((await setup.login(user, WRONG)).decision)

    known, unknown = refusals
    assert known.retry_after_ms == unknown.retry_after_ms
    assert known.limits == unknown.limits


async def test_guesses_side_by_side_are_counted_like_others(world, setup):
    """Of 50 guesses at once five are verified: attempts are charged before their outcome is known."""
    await setup.sign_up("ada")
    computed = setup.hashes_computed

    answers = await asyncio.gather(*(setup.login("ada", WRONG, address=f"198.51.100.{i}") for i in range(50)))

    assert answers.count(WrongCredentials()) == 5
    assert setup.hashes_computed - computed == 5


async def test_a_login_gives_the_accounts_attempts_back(world, setup):
    """After the right password the account's limit begins anew."""
    await setup.sign_up("ada")
    for _ in range(3):
        for _ in range(4):
            await setup.login("ada", WRONG)
        assert isinstance(await setup.login("ada"), LoggedIn)


async def test_a_login_gives_its_attempt_back_to_the_address(world, setup):
    """Who logs in rightly ever so often from one address, such as an office, uses up nothing that guesses share."""
    await setup.sign_up("ada")
    for _ in range(29):
        await setup.login("somebody", WRONG)

    answers = [await setup.login("ada") for _ in range(3)]

    assert all(isinstance(one, LoggedIn) for one in answers)
    assert await setup.login("nobody", WRONG) == WrongCredentials()
    assert isinstance(await setup.login("ada"), Throttled)


async def test_limits_that_are_down_refuse_no_login(world, setup):
    """P8: while the store of limits is down a right password logs in, and guesses are still counted."""
    await setup.sign_up("ada")
    store = watched.Watched(world.stores.limits)
    store.fail()
    keyring = world.keyring
    limiter = Limiter(store, BUILT_IN, keyring, world.metrics)
    accounts = Accounts(world.stores.accounts, setup.sessions, limiter, setup.passwords, keyring, world.metrics)

    right = await accounts.login("ada", RIGHT, address=HERE)
    wrong = [await accounts.login("eve", WRONG, address=HERE) for _ in range(6)]

    assert isinstance(right, LoggedIn)
    assert wrong[:5] == [WrongCredentials()] * 5
    assert isinstance(wrong[5], Throttled)


async def test_an_address_is_limited_over_all_accounts(world, setup):
    """The 31st attempt of one address in five minutes is refused, whichever accounts it tried."""
    for number in range(30):
        assert await setup.login(f"user-{number}") == WrongCredentials()

    refused = await setup.login("user-31")

    assert refused.decision.policy == "login-address"
    assert await setup.login("user-31", address=ELSEWHERE) == WrongCredentials()


async def test_a_refused_address_uses_up_nobodys_attempts(world, setup):
    """An address that is refused charges no account, so it cannot keep an owner out from then on."""
    await setup.sign_up("ada")
    for number in range(30):
        await setup.login(f"user-{number}")

    for _ in range(10):
        await setup.login("ada", WRONG)

    assert isinstance(await setup.login("ada", address=ELSEWHERE), LoggedIn)


async def test_sign_ups_of_one_address_are_limited(world, setup):
    """The 21st sign-up of an hour is refused before any hash, also where it would only ask for a taken name."""
    for _ in range(20):
        await setup.sign_up("ada")
    computed = setup.hashes_computed

    answer = await setup.sign_up("eve")

    assert isinstance(answer, Throttled)
    assert answer.decision.policy == "signup"
    assert setup.hashes_computed == computed
    assert isinstance(await setup.sign_up("eve", address=ELSEWHERE), SignedUp)


async def test_a_session_that_the_cap_refuses_is_said(world, setup):
    """Whoever knows the password is told that there are too many sessions."""
    await setup.sign_up("ada")
    await setup.login("ada", policy="single")

    assert await setup.login("ada", policy="single") == SessionRefused(reason="at-cap")

    assert setup.logins("refused") == 1


@pytest.mark.parametrize("options", [{"policy": "forever"}, {"device": "d" * 121}, {"password": "x" * 1_025}])
async def test_a_login_that_cannot_succeed_is_refused_first(world, setup, options):
    """A policy that does not exist, a label or a password that is too long costs neither a unit nor a hash."""
    with pytest.raises(InvalidInput):
        await setup.login("ada", **options)

    assert await keys_of(world, "limits") == []
    assert setup.hashes_computed == 0


async def test_a_login_renews_a_hash_of_other_parameters(world, setup):
    """After the profile was changed, the next login stores a hash of the new one; later ones do not."""
    await setup.sign_up("ada")
    before = await account(world, "ada")
    stronger = Setup(world, profile=STRONGER)

    assert isinstance(await stronger.login("ada"), LoggedIn)

    after = await account(world, "ada")
    assert hashing.profile_of(before["h"]) == FAST
    assert hashing.profile_of(after["h"]) == STRONGER
    assert {**after, "h": ""} == {**before, "h": ""}
    assert isinstance(await stronger.login("ada"), LoggedIn)
    assert (await account(world, "ada"))["h"] == after["h"]


async def test_a_wrong_password_renews_nothing(world, setup):
    """Only who knows the password can bring a new hash about."""
    await setup.sign_up("ada")
    before = await account(world, "ada")

    await Setup(world, profile=STRONGER).login("ada", WRONG)

    assert await account(world, "ada") == before


async def test_accounts_outlive_a_rotation_of_the_secret(world, setup):
    """After a new secret is put first, an account keeps its name and logs in, and its hash moves to the new pepper."""
    await setup.sign_up("ada")
    keyring = Keyring(secrets=(ROTATED_SECRET, *world.keyring.secrets))
    rotated = Setup(world, keyring=keyring)

    assert await rotated.sign_up("ada") == NameTaken(user="ada")
    assert isinstance(await rotated.login("ada"), LoggedIn)
    assert (await account(world, "ada"))["k"] == keyring.key_ids()[0]
    assert isinstance(await rotated.login("ada"), LoggedIn)
    assert await rotated.login("ada", WRONG) == WrongCredentials()


class BusyForNewHashes:
    """A pool in whose queue verifications find a place, and new hashes do not."""

    def __init__(self):
        self.pool = Pool("password hashing", 2)

    async def run(self, function, *arguments):
        if hashing.argon2id in arguments:
            raise Overloaded("password hashing", 2_000)
        return await self.pool.run(function, *arguments)


async def test_a_busy_moment_only_delays_a_renewal(world, setup):
    """Who knows the password gets in, although the queue has no place for a new hash just now."""
    await setup.sign_up("ada")
    before = await account(world, "ada")
    busy = Setup(world, profile=STRONGER, pool=BusyForNewHashes())

    assert isinstance(await busy.login("ada"), LoggedIn)

    assert await account(world, "ada") == before


async def test_a_full_queue_is_said_to_sign_ups_and_logins(world):
    """Beyond permits and places callers get Overloaded; nothing is written, and the attempt is counted."""
    pool = Pool("password hashing", 1, waiting=0)
    setup, gate = Setup(world, pool=pool), threading.Event()
    busy = asyncio.create_task(pool.run(gate.wait, 10))
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await setup.sign_up("ada")
    with pytest.raises(Overloaded):
        await setup.login("ada")

    gate.set()
    await busy
    assert await keys_of(world, "accounts") == []
    assert setup.logins("overloaded") == 1


class Watched:
    """A pool that says when somebody asks it for work."""

    def __init__(self, pool):
        self.pool = pool
        self.asked = asyncio.Event()

    async def run(self, function, *arguments):
        self.asked.set()
        return await self.pool.run(function, *arguments)


async def test_a_cancelled_login_frees_no_permit_early(world):
    """A client that goes away gives its place in the queue back, but work that runs keeps its permit to its end."""
    pool, gate = Pool("password hashing", 1, waiting=1), threading.Event()
    watched = Watched(pool)
    setup = Setup(world, pool=watched)
    running = asyncio.create_task(pool.run(gate.wait, 10))
    login = asyncio.create_task(setup.login("ada"))
    await watched.asked.wait()

    for call in (login, running):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    queued = asyncio.create_task(pool.run(int))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await setup.login("ada")

    assert setup.hashes_computed == 0
    gate.set()
    assert await queued == 0
    assert await setup.login("ada") == WrongCredentials()


async def test_the_event_loop_goes_on_while_a_password_is_hashed(world):
    """Hashing happens in a thread: other work on the loop is served meanwhile."""
    pool, gate = Pool("password hashing", 1), threading.Event()
    setup = Setup(world, pool=pool)
    running = asyncio.create_task(pool.run(gate.wait, 10))
    login = asyncio.create_task(setup.login("ada"))

    assert await setup.sessions.verify("no token") is None
    assert await setup.sessions.list("ada") == ()

    assert not login.done()
    gate.set()
    await running
    assert await login == WrongCredentials()


async def test_a_repeated_create_answers_the_same(world, setup):
    """A create or replacement whose answer was lost may be sent again; one of somebody else is refused."""
    run, key = world.stores.accounts.run, keys.account(world.keyring.digest("account", "ada"))

    assert await run("accounts/create", [key], ["ada", "hash-1", "0a"]) == [1]
    assert await run("accounts/create", [key], ["ada", "hash-1", "0a"]) == [1]
    assert await run("accounts/create", [key], ["ada", "hash-2", "0a"]) == [0]
    assert await run("accounts/replace_hash", [key], ["hash-1", "hash-3", "0b"]) == [1]
    assert await run("accounts/replace_hash", [key], ["hash-1", "hash-3", "0b"]) == [1]
    assert await run("accounts/replace_hash", [key], ["hash-1", "hash-4", "0b"]) == [0]
    assert await run("accounts/load", [key], []) == [0, b"hash-3", b"0b"]
    assert await world.command("accounts", "PTTL", key) == -1


async def test_a_hash_that_changed_meanwhile_is_not_replaced(world, setup):
    """Where there is no account any more, or another password by now, a renewal writes nothing."""
    key = keys.account(world.keyring.digest("account", "ada"))

    assert await world.stores.accounts.run("accounts/replace_hash", [key], ["old", "new", "0a"]) == [0]

    assert await keys_of(world, "accounts") == []


async def test_every_account_script_works_by_the_clock_of_the_server(world):
    """Where no time is given (`now_ms` 0), an account begins at the server's time."""
    stores = open_stores(plan(world.url, {}), SCRIPTS, world.metrics)
    setup = Setup(world, stores=stores)

    await setup.sign_up("ada")

    assert abs(int((await account(world, "ada"))["c"]) - time.time() * 1000) < 60_000
    answer = await Setup(world, stores=stores, profile=STRONGER).login("ada")
    assert isinstance(answer, LoggedIn)
    scripts = {"accounts/create", "accounts/load", "accounts/replace_hash"}
    assert {name for name in SCRIPTS if name.startswith("accounts/")} == scripts
    await stores.aclose()


async def test_no_password_is_in_any_store_and_no_name_in_a_key(world, setup):
    """P10, S4-59: after logins no key names a user or an address, and no value holds a password or a token's secret."""
    user = "ada.lovelace@example.com"
    await setup.sign_up(user)
    await setup.login(user, WRONG)
    issued = (await setup.login(user)).issued
    await Setup(world, profile=STRONGER).login(user)

    stored = [entry for name in ("accounts", "limits", "sessions") async for entry in everything(world, name)]

    assert len(stored) >= 6
    for key, value in stored:
        assert not any(word in key.lower() for word in ("lovelace", "example", HERE))
        for secret in (RIGHT, WRONG, issued.token.secret):
            assert secret not in key
            assert secret.encode() not in value
