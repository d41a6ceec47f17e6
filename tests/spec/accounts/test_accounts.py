"""Accounts: sign-up and login, and what their answers do not reveal."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Literal, cast, get_args, get_type_hints

import pytest

from tests.accounts import FAST, HERE, RIGHT, STRONGER, WRONG, Setup, record
from tests.spec.stored import everything, keys_of, pairs
from tests.worlds import SCRIPTS
from tollhouse.accounts import outcomes
from tollhouse.accounts.factors import outcomes as factor_outcomes
from tollhouse.accounts.hashing import argon2id as hashing
from tollhouse.accounts.hashing.argon2id import POOL_MEMORY_KIB
from tollhouse.accounts.hashing.pool import HashPool
from tollhouse.accounts.names import folded_case
from tollhouse.accounts.outcomes import (
    AccountCreated,
    AttemptThrottled,
    LoginSucceeded,
    NameTaken,
    PasswordChanged,
    PasswordConfirmed,
    TooManyAttempts,
    WrongCredentials,
)
from tollhouse.accounts.rules import PasswordRules
from tollhouse.errors import InvalidInput, Overloaded
from tollhouse.keys import UNNAMED
from tollhouse.limits.decision import Decision
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.tickets import Ticket
from tollhouse.sessions.verbs.impersonator import ImpersonationRefused
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store

ANOTHER = "trellis marmot gondola"


@pytest.fixture
def setup(world):
    return Setup(world)


async def account(world, user):
    """Return the stored fields of an account."""
    key = UNNAMED.account(world.keyring.digest("account", user))
    return dict(pairs(await world.command("accounts", "HGETALL", key)))


async def test_a_user_that_signed_up_logs_in(world, setup):
    """C-8: sign-up makes an account, and its password opens a fresh session of that user."""
    assert await setup.sign_up("ada") == AccountCreated(user="ada", durable=False)

    answer = await setup.login("ada", device="a laptop")

    assert isinstance(answer, LoginSucceeded)
    assert await setup.sessions.verify(answer.issued.token) == answer.issued.session
    assert (answer.issued.session.user, answer.issued.session.device) == ("ada", "a laptop")
    assert setup.logins("ok") == 1


async def test_a_name_belongs_to_one_account(world, setup):
    """Signing up for a taken name says so and changes nothing, after one hash as for a free name."""
    await setup.sign_up("ada")
    before, computed = await account(world, "ada"), setup.hashes_computed

    assert await setup.sign_up("ada", WRONG) == NameTaken(user="ada")

    assert await account(world, "ada") == before
    assert setup.hashes_computed == computed + 1
    assert isinstance(await setup.login("ada"), LoginSucceeded)


async def test_of_sign_ups_at_once_one_gets_the_name(world, setup):
    """Nine sign-ups for one name at the same time make one account, with the password of the one that got it."""
    attempts = [f"{RIGHT} number {number}" for number in range(9)]  # as many as one permit and its queue take

    answers = await asyncio.gather(*(setup.sign_up("ada", password) for password in attempts))

    won = [isinstance(answer, AccountCreated) for answer in answers]
    assert won.count(True) == 1
    assert answers.count(NameTaken(user="ada")) == 8
    assert isinstance(await setup.login("ada", attempts[won.index(True)]), LoginSucceeded)


async def test_one_name_has_many_spellings(world, setup):
    """Case and the way an accent is typed make no other account: the folded spelling is the user of the session."""
    assert await setup.sign_up("Zo\u00eb") == AccountCreated(user="zo\u00eb", durable=False)

    assert await setup.sign_up("ZOE\u0308") == NameTaken(user="zo\u00eb")
    answer = await setup.login("zOe\u0308")

    assert answer.issued.session.user == "zo\u00eb"


def test_folding_a_name_twice_is_folding_it_once():
    """Folding the stored spelling again changes nothing, for every character that has cases."""
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
    """A password that is not allowed costs neither a unit nor a hash."""
    with pytest.raises(InvalidInput) as caught:
        await setup.sign_up("ada", "ada ada ada ada ada")

    assert caught.value.kind == "weak-password"
    assert await keys_of(world, "limits") == []
    assert setup.hashes_computed == 0


async def test_the_least_length_of_a_password_can_be_set(world):
    """Accounts take the rules that they are given."""
    setup = Setup(world)
    setup.accounts = setup.accounts_with(rules=PasswordRules(8))

    assert isinstance(await setup.sign_up("ada", "x7q9!kk3"), AccountCreated)


async def disable(world, user):
    await world.command("accounts", "HSET", UNNAMED.account(world.keyring.digest("account", user)), "dis", 1)


async def disable_sessions(world, user):
    digest = world.keyring.digest("session-user", user)
    await world.command("sessions", "HSET", UNNAMED.user_epoch(digest[:2], digest), "dis", 1)


REFUSED = Decision(
    allowed=False, policy="signup", key="address:here", cost=1, limits=(), retry_after_ms=1, refused_by="5/minute"
)
OUTCOMES = [
    outcome
    for module in (outcomes, factor_outcomes)
    for outcome in vars(module).values()
    if isinstance(outcome, type) and outcome.__module__ == module.__name__ and "__bool__" in vars(outcome)
]
REFUSALS = [
    NameTaken(user="ada"),
    TooManyAttempts(decision=REFUSED),
    AttemptThrottled(retry_after_ms=1),
    WrongCredentials(),
    SessionRefused(reason="at-cap"),
    CapReached(
        ticket=Ticket(key_id="0" * 8, digest="0" * 32, secret="A" * 43),
        expires_at=1,
        sessions=(),
        ends=1,
        durable=True,
    ),
    ImpersonationRefused(reason="nested"),
]


@pytest.mark.parametrize("outcome", REFUSALS, ids=lambda outcome: type(outcome).__name__)
def test_an_outcome_that_refuses_is_false(outcome):
    """`if answer:` means that the account or the session began, and a type checker knows which class it is then."""
    assert not outcome
    assert get_type_hints(type(outcome).__bool__)["return"] == Literal[False]


@pytest.mark.parametrize("outcome", [PasswordConfirmed(rotation=cast("Any", None))])
def test_an_outcome_that_succeeds_is_true(outcome):
    """Whatever it holds."""
    assert outcome


@pytest.mark.parametrize("success", [AccountCreated, Issued, LoginSucceeded, PasswordConfirmed])
def test_a_type_checker_knows_that_a_success_is_true(success):
    """`if not answer:` leaves only the refusal, for type checkers too."""
    assert get_type_hints(success.__bool__)["return"] == Literal[True]


async def test_an_outcome_that_succeeded_is_true(setup):
    """What has no refusal in it is true, also the end of a session that was not there."""
    created = await setup.sign_up("ada")
    begun = await setup.login("ada")

    assert all((created, begun, begun.issued, await setup.sessions.revoke("ada", "A" * 22)))
    assert await setup.sessions.revoke_all("eve")


@pytest.mark.asvs("6.3.8")
async def test_a_failed_login_does_not_reveal_the_reason(world, setup):
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


async def test_a_login_at_the_cap_is_answered_as_such(world, setup):
    """With the right password the answer says that there are too many sessions."""
    await setup.sign_up("ada")
    await setup.login("ada", policy="single")

    assert await setup.login("ada", policy="single") == SessionRefused(reason="at-cap")

    assert setup.logins("refused") == 1


async def test_a_login_at_the_cap_can_go_on(world, setup):
    """If the policy asks, the right password gets the ticket and the sessions to choose from; a wrong one neither."""
    await setup.sign_up("ada")
    first = await setup.login("ada", policy="asking")

    assert await setup.login("ada", policy="asking", password="wrong otters juggle plums") == WrongCredentials()
    asked = await setup.login("ada", policy="asking")

    assert isinstance(asked, CapReached)
    assert asked.sessions == (first.issued.session,)
    assert setup.logins("refused") == 1
    assert isinstance(await setup.sessions.resume(asked.ticket, end=[first.issued.session.sid]), Issued)


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

    assert isinstance(await stronger.login("ada"), LoginSucceeded)

    after = await account(world, "ada")
    assert hashing.profile_of(before["h"]) == FAST
    assert hashing.profile_of(after["h"]) == STRONGER
    assert {**after, "h": "", "v": ""} == {**before, "h": "", "v": ""}
    assert isinstance(await stronger.login("ada"), LoginSucceeded)
    assert (await account(world, "ada"))["h"] == after["h"]


async def test_a_wrong_password_renews_nothing(world, setup):
    """Only the right password leads to a new hash."""
    await setup.sign_up("ada")
    before = await account(world, "ada")

    await Setup(world, profile=STRONGER).login("ada", WRONG)

    assert await account(world, "ada") == before


class BusyForNewHashes:
    """A pool that accepts verifications and refuses new hashes."""

    def __init__(self):
        self.pool = HashPool(2, POOL_MEMORY_KIB, Metrics())
        self.memory_kib = POOL_MEMORY_KIB

    def require_place(self, *, trusted):
        self.pool.require_place(trusted=trusted)

    async def run(self, function, *arguments, **demand):
        if function.__name__ == "_argon2id":
            raise Overloaded("password hashing", 2_000)
        return await self.pool.run(function, *arguments, **demand)


async def test_a_busy_moment_only_delays_a_renewal(world, setup):
    """A right password logs in although the queue has no place for a new hash."""
    await setup.sign_up("ada")
    before = await account(world, "ada")
    busy = Setup(world, profile=STRONGER, pool=BusyForNewHashes())

    assert isinstance(await busy.login("ada"), LoginSucceeded)

    assert await account(world, "ada") == before


async def test_sign_ups_and_logins_are_refused_while_the_queue_is_full(world):
    """With every place of its lane taken a caller gets Overloaded: nothing is charged, looked up or written."""
    pool = HashPool(1, POOL_MEMORY_KIB, Metrics())
    setup, gate = Setup(world, pool=pool), threading.Event()
    busy = [held(pool, gate) for _ in range(9)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await setup.sign_up("ada")
    with pytest.raises(Overloaded):
        await setup.login("ada")

    gate.set()
    await asyncio.gather(*busy)
    assert await keys_of(world, "accounts") == await keys_of(world, "limits") == []
    assert setup.logins("overloaded") == 1


async def test_a_flood_of_logins_keeps_no_session_from_its_step_up(world):
    """The step-up of a live session has a lane of its own: it is hashed while the queue of logins is full."""
    pool = HashPool(2, POOL_MEMORY_KIB, Metrics())
    setup, gate = Setup(world, pool=pool), threading.Event()
    await setup.sign_up("ada")
    login = await setup.login("ada")
    flood = [held(pool, gate) for _ in range(9)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await setup.login("ada")
    stepped = await setup.accounts.reauthenticate(login.issued.token, RIGHT, address=HERE)

    assert isinstance(stepped, PasswordConfirmed)

    gate.set()
    await asyncio.gather(*flood)


@pytest.mark.asvs("6.3.1")
async def test_a_flood_of_logins_keeps_no_owner_with_a_device_out(world):
    """While the queue of others is full, a device of the account logs in; one of another account, or none, does not."""
    pool = HashPool(2, POOL_MEMORY_KIB, Metrics())
    setup, gate = Setup(world, pool=pool), threading.Event()
    device = await device_of(setup, "ada")
    other = await device_of(setup, "eve")
    flood = [held(pool, gate) for _ in range(9)]
    await asyncio.sleep(0)

    for presented in (None, "a cookie of something else", other, device[:-1]):
        with pytest.raises(Overloaded):
            await setup.login("ada", device_token=presented)
    for _ in range(3):
        login = await setup.login("ada", device_token=device)
        assert isinstance(login, LoginSucceeded)
        device = login.device.reveal()

    gate.set()
    await asyncio.gather(*flood)


async def test_a_device_that_lost_its_trust_is_hashed_as_any_other(world):
    """After the password changed, a flood keeps its former devices out, whose signature is still good; uncharged."""
    pool = HashPool(2, POOL_MEMORY_KIB, Metrics())
    setup, gate = Setup(world, pool=pool), threading.Event()
    device = await device_of(setup, "ada")
    await setup.accounts.set_password("ada", RIGHT)
    flood = [held(pool, gate) for _ in range(9)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await setup.login("ada", device_token=device)

    assert await setup.failures() == (0, 0)
    gate.set()
    await asyncio.gather(*flood)
    assert isinstance(await setup.login("ada", device_token=device), LoginSucceeded)


async def test_a_flood_keeps_no_new_password_from_being_set(world):
    """Operators, users with a session and those with a reset token are hashed in the lane that no flood fills."""
    pool = HashPool(2, POOL_MEMORY_KIB, Metrics())
    setup, gate = Setup(world, pool=pool), threading.Event()
    accounts = setup.accounts
    await setup.sign_up("ada")
    token = (await setup.login("ada")).issued.token
    flood = [held(pool, gate) for _ in range(9)]
    await asyncio.sleep(0)

    changed = await accounts.change_password(token, RIGHT, ANOTHER, address=HERE)
    assert isinstance(changed, PasswordChanged)
    assert isinstance(await accounts.set_password("ada", RIGHT), PasswordChanged)
    reset = await accounts.issue_reset_token("ada")
    assert isinstance(await accounts.reset_password("ada", reset.token, ANOTHER), PasswordChanged)
    assert isinstance(await accounts.add_account("eve", RIGHT), AccountCreated)

    gate.set()
    await asyncio.gather(*flood)


async def device_of(setup, user):
    """Sign up and log in, and return what makes the client a trusted device."""
    await setup.sign_up(user)
    return (await setup.login(user)).device.reveal()


def held(pool, gate, begun=None):
    """Return the task of an untrusted hash that runs or waits until the gate is open; it tells when it has begun."""

    def compute():
        if begun is not None:
            begun.set()
        return gate.wait(10)

    return asyncio.create_task(pool.run(compute, trusted=False, memory_kib=1))


class AwaitedPool:
    """A pool with an event for its first call."""

    def __init__(self, pool):
        self.pool = pool
        self.memory_kib = pool.memory_kib
        self.called = asyncio.Event()

    def require_place(self, *, trusted):
        self.pool.require_place(trusted=trusted)

    async def run(self, function, *arguments, **demand):
        self.called.set()
        return await self.pool.run(function, *arguments, **demand)


async def test_a_cancelled_login_frees_no_thread_early(world):
    """A client that leaves gives its place in the queue back, but a running hash keeps its permit until it ends."""
    pool, gate, begun = HashPool(1, POOL_MEMORY_KIB, Metrics()), threading.Event(), threading.Event()
    awaited = AwaitedPool(pool)
    setup = Setup(world, pool=awaited)
    running = held(pool, gate, begun)
    assert await asyncio.to_thread(begun.wait, 10)
    queued = [held(pool, gate) for _ in range(7)]
    login = asyncio.create_task(setup.login("ada"))
    await awaited.called.wait()

    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    running.cancel()
    queued.append(held(pool, gate))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await setup.login("ada")

    assert setup.hashes_computed == 0
    assert not running.done()
    gate.set()
    assert await asyncio.gather(*queued) == [True] * 8
    assert await setup.login("ada") == WrongCredentials()


async def test_hashing_does_not_block_the_event_loop(world):
    """Hashing happens in a thread: other work on the loop is served meanwhile."""
    pool, gate = HashPool(1, POOL_MEMORY_KIB, Metrics()), threading.Event()
    setup = Setup(world, pool=pool)
    running = held(pool, gate)
    login = asyncio.create_task(setup.login("ada"))

    assert await setup.sessions.verify("no token") is None
    assert await setup.sessions.list("ada") == ()

    assert not login.done()
    gate.set()
    await running
    assert await login == WrongCredentials()


async def test_a_repeated_create_answers_the_same(world, setup):
    """A create or replacement whose answer was lost may be sent again; one with another hash is refused."""
    run, key = world.stores.accounts.run, UNNAMED.account(world.keyring.digest("account", "ada"))

    assert await run("accounts/create", [key], record("ada", "hash-1", "0a")) == [1]
    assert await run("accounts/create", [key], record("ada", "hash-1", "0a")) == [1]
    assert await run("accounts/create", [key], record("ada", "hash-1", "0a", revision="r2")) == [0]
    assert await run("accounts/replace", [key], ["r1", "hash-1", "hash-3", "0b", 0, "r3", "{}"]) == [1]
    assert await run("accounts/replace", [key], ["r1", "hash-1", "hash-3", "0b", 0, "r3", "{}"]) == [1]
    assert await run("accounts/replace", [key], ["r1", "hash-1", "hash-4", "0b", 0, "r4", "{}"]) == [0]
    assert await run("accounts/load", [key], []) == [0, 7, 0, 0, b"ada", b"hash-3", b"0b", b"r3", b"{}", b""]
    assert await world.command("accounts", "PTTL", key) == -1


async def test_a_hash_that_changed_meanwhile_is_not_replaced(world, setup):
    """If the account is gone, or has another password by now, a renewal writes nothing."""
    key = UNNAMED.account(world.keyring.digest("account", "ada"))

    assert await world.stores.accounts.run("accounts/replace", [key], ["r1", "old", "new", "0a", 0, "r2", ""]) == [0]

    assert await keys_of(world, "accounts") == []


async def test_every_account_script_works_by_the_clock_of_the_server(world):
    """Without a time (`now_ms` 0) an account works as by that of a test."""
    stores = open_stores(urls_by_store(world.url, {}), SCRIPTS, world.metrics)
    setup = Setup(world, stores=stores)

    await setup.sign_up("ada")

    assert (await account(world, "ada"))["c"] == str(world.now_ms)
    answer = await Setup(world, stores=stores, profile=STRONGER).login("ada")
    assert isinstance(answer, LoginSucceeded)
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


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_is_as_true_as_its_type_says(outcome):
    """A type checker and the program agree on each of them."""
    (truth,) = get_args(get_type_hints(outcome.__bool__)["return"])
    assert outcome.__bool__(None) is truth
