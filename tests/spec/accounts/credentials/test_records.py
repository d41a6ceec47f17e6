"""Accounts over a rotation of the secret: what a login moves, and that no step of it loses or doubles an account."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from itertools import count
from types import SimpleNamespace

import pytest

from tests.accounts import RIGHT, ROTATED_SECRET, STRONGER, WRONG, Setup, record
from tests.spec.sessions.test_sessions_resurrection import Interleaved
from tests.spec.stored import keys_of, pairs
from tollhouse.accounts.credentials.records import AccountRecords
from tollhouse.accounts.credentials.stored_fields import read_credentials
from tollhouse.accounts.hashing.argon2id import POOL_MEMORY_KIB
from tollhouse.accounts.hashing.pool import HashPool
from tollhouse.accounts.outcomes import AccountCreated, LoginSucceeded, NameTaken, WrongCredentials
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED

MINUTE_MS = 60_000
OTHER = "another password of a user"
POINTS = (0, *range(1, 40, 2))
"""The points before the first call of a verb, and after each of its calls."""
ADDRESSES = count()


class Stopped(Exception):
    """A process ended here."""


class Recorded:
    """A store that notes the calls of scripts."""

    def __init__(self, store):
        self.store, self.calls = store, []

    async def run(self, script, keys, args):
        self.calls.append((script, tuple(keys)))
        return await self.store.run(script, keys, args)

    async def run_durably(self, script, keys, args):
        self.calls.append((script, tuple(keys)))
        return await self.store.run_durably(script, keys, args)


class Replicated(Recorded):
    """A store whose durable writes are confirmed by a replica, as this world has none."""

    async def run_durably(self, script, keys, args):
        reply, _ = await super().run_durably(script, keys, args)
        return reply, True


class Failing(Recorded):
    """A store that loads, and fails when it is to write."""

    async def run(self, script, keys, args):
        if script == "accounts/load":
            return await super().run(script, keys, args)
        raise StoreUnavailable("accounts", "not-sent", "down for a test")

    run_durably = run


class Processes:
    """Processes of a service whose secret is rotated, as each of them is configured."""

    def __init__(self, world):
        (old,), new = world.keyring.secrets, ROTATED_SECRET
        self.world = world
        self.pool = HashPool(8, POOL_MEMORY_KIB, world.metrics)
        self.orders = {"before": (old,), "behind": (old, new), "front": (new, old), "after": (new,)}

    def keyring(self, order):
        return Keyring(secrets=self.orders[order])

    def setup(self, order, accounts=None, **options):
        stores = self.world.stores
        given = SimpleNamespace(sessions=stores.sessions, limits=stores.limits, accounts=accounts or stores.accounts)
        return Setup(self.world, keyring=self.keyring(order), stores=given, pool=self.pool, **options)

    async def login(self, order, user, password=RIGHT, **options):
        return await self.setup(order, **options).login(user, password, address=f"address {next(ADDRESSES)}")

    async def sign_up(self, order, user, password=RIGHT, **options):
        return await self.setup(order, **options).sign_up(user, password, address=f"address {next(ADDRESSES)}")

    async def change(self, user, **changes):
        """Change the credentials of a user, again if they changed meanwhile."""
        store, written = self.setup("front").credentials, None
        while written is None:
            before = await store.load(user)
            written = await store.replace(before, before.changed(**changes))

    def key(self, order, user):
        """Return the key of a user's account under the newest secret of a process."""
        return UNNAMED.account(self.keyring(order).digest("account", user))

    async def found(self, user, order="front"):
        """Return the library's own view of a name, as another verb on accounts would begin."""
        records = AccountRecords(self.world.stores.accounts, self.keyring(order), self.world.metrics, UNNAMED)
        return records, await records.load(user)


@pytest.fixture
def processes(world):
    started = Processes(world)
    yield started
    started.pool.close()


async def stored(world, key):
    return dict(pairs(await world.command("accounts", "HGETALL", key)))


async def lasting(world, user_keys):
    """Return those keys that do not expire."""
    return [key for key in user_keys if await world.command("accounts", "PTTL", key) == -1]


async def test_a_login_moves_an_account_to_the_newest_secret(world, processes):
    """After a rotation the next login moves account and hash; then the older secret can go, and others know nothing."""
    await processes.sign_up("before", "ada")
    before = await stored(world, processes.key("before", "ada"))

    assert await processes.sign_up("front", "ada") == NameTaken(user="ada")
    assert await processes.login("after", "ada") == WrongCredentials()
    assert isinstance(await processes.login("front", "ada"), LoginSucceeded)

    moved = await stored(world, processes.key("after", "ada"))
    assert {**moved, "h": before["h"], "k": before["k"], "v": before["v"]} == {**before, "n": "1"}
    assert (moved["h"] != before["h"], moved["k"]) == (True, processes.keyring("after").key_ids()[0])
    assert await lasting(world, await keys_of(world, "accounts")) == [processes.key("after", "ada")]
    for order in ("front", "behind", "after"):
        assert await processes.login(order, "ada", WRONG) == WrongCredentials()
        assert await processes.sign_up(order, "ada") == NameTaken(user="ada")
    assert isinstance(await processes.login("after", "ada"), LoginSucceeded)
    await world.advance(MINUTE_MS)
    assert await keys_of(world, "accounts") == [processes.key("after", "ada")]


async def test_logins_under_an_older_secret_are_counted(world, processes):
    """The count grows once for each account, by the key id of the secret that may not go yet, and not for a guess."""
    older = processes.keyring("before").key_ids()[0]
    await processes.sign_up("before", "ada")
    setup = processes.setup("front")

    counts = []
    for password in (WRONG, RIGHT, RIGHT):
        await processes.login("front", "ada", password)
        counts.append(setup.sample("tollhouse_older_secret_logins_total", key_id=older))

    assert counts == [0, 1, 1]


async def test_a_hash_alone_under_an_older_secret_is_counted(world, processes):
    """An account that moved while the queue for hashes was full needs the older secret still."""
    await processes.sign_up("before", "ada")
    records, name = await processes.found("ada")
    await records.settle(name)

    _, moved = await processes.found("ada")

    assert moved.account.secret == moved.newest
    assert moved.credentials.older_secret == processes.keyring("before").key_ids()[0]
    assert isinstance(await processes.login("front", "ada"), LoginSucceeded)
    _, renewed = await processes.found("ada")
    assert renewed.credentials.older_secret is None


async def test_with_one_secret_a_sign_up_is_one_call(world, processes):
    """No other key could have the name, so nothing is reserved first."""
    store = Recorded(world.stores.accounts)

    await processes.sign_up("before", "ada", accounts=store)

    key = processes.key("before", "ada")
    assert store.calls == [("accounts/load", (key,)), ("accounts/create", (key,))]


@contextlib.contextmanager
def calls_of(function, calls):
    """Note each call of a function in this thread."""

    def note(frame, event, _):
        if event == "call" and frame.f_code is function.__code__:
            calls.append(function)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


async def test_every_name_costs_the_same_reads(world, processes, monkeypatch):
    """P10: an unknown name, a wrong password, a pending sign-up and every place of an account cost the same reads.

    In place of a record that is missing another one is decoded, so no name takes less time for it either.
    """
    decoded = []
    for user in ("ada", "eve"):
        await processes.sign_up("before", user)
    await processes.login("front", "eve")
    pending = processes.key("front", "bob")
    await world.stores.accounts.run("accounts/create", [pending], record("bob", "hash", "0a", pending_ms=MINUTE_MS))
    calls = {}

    for user in ("ada", "eve", "bob", "nobody"):
        store = Recorded(world.stores.accounts)
        decoded.clear()
        with calls_of(read_credentials, decoded):
            assert await processes.login("front", user, WRONG, accounts=store) == WrongCredentials()
        calls[user] = [script for script, _ in store.calls], len(decoded)

    assert list(calls.values()) == [(["accounts/load"] * 2, 2)] * 4


async def test_a_login_succeeds_while_the_account_cannot_be_moved(world, processes, caplog):
    """If the store loads and does not write, the right password still logs in; the log says that the move waits."""
    await processes.sign_up("before", "ada")

    with caplog.at_level(logging.WARNING, logger="tollhouse.accounts"):
        answer = await processes.login("front", "ada", accounts=Failing(world.stores.accounts))

    assert isinstance(answer, LoginSucceeded)
    assert [record.event for record in caplog.records] == ["account not renewed"]
    assert (await stored(world, processes.key("before", "ada"))).keys() == {"u", "h", "k", "c", "dis", "v", "x"}


async def moving_login(processes, user):
    assert isinstance(await processes.login("front", user), LoginSucceeded)


async def moving_back(processes, user):
    """Log in at a process that has the new secret behind the old one still."""
    assert isinstance(await processes.login("behind", user), LoginSucceeded)


async def to_and_fro(processes, user):
    await moving_login(processes, user)
    await moving_back(processes, user)


async def sign_up_too(processes, user):
    for order in ("front", "behind"):
        assert await processes.sign_up(order, user, OTHER) == NameTaken(user=user)


async def rehash(processes, user):
    assert isinstance(await processes.login("front", user, profile=STRONGER), LoginSucceeded)


async def disable(processes, user):
    """Disable an account as a verb does it."""
    await processes.change(user, disabled=True)


async def change_password(processes, user):
    """Change a password as a verb does it."""
    await processes.change(user, password=await processes.setup("front").passwords.hash(OTHER.encode()))


async def stop(processes, user):
    raise Stopped


OVERTAKING = [moving_login, moving_back, to_and_fro, sign_up_too, rehash, disable, change_password, stop]


INTERLEAVED = [("front", one) for one in OVERTAKING] + [("behind", one) for one in (moving_login, change_password)]


@pytest.mark.parametrize(("order", "overtake"), INTERLEAVED)
async def test_nothing_that_overtakes_a_move_loses_or_doubles_the_account(world, processes, order, overtake):
    """At each point of a login that moves: other logins, sign-ups, a new hash, a disable, a new password, a crash."""
    for point in POINTS:
        user = f"user {point}"
        await processes.sign_up("before" if order == "front" else "after", user)
        store = Interleaved(world.stores.accounts, point, lambda user=user: overtake(processes, user))
        with contextlib.suppress(Stopped):
            answer = await processes.login(order, user, accounts=store)
            assert overtake is disable or overtake is change_password or isinstance(answer, LoginSucceeded)
        if not store.overtaken:
            break

        right = OTHER if overtake is change_password else RIGHT
        opens = overtake is not disable
        for other in ("behind", "front"):
            assert isinstance(await processes.login(other, user, right), LoginSucceeded) == opens, f"point {point}"
            assert await processes.login(other, user, RIGHT if right == OTHER else OTHER) == WrongCredentials()
        assert await processes.sign_up("front", user, OTHER) == NameTaken(user=user)
        if opens:
            keys = [processes.key(one, user) for one in ("before", "after")]
            assert await lasting(world, keys) == [processes.key("after", user)], f"point {point}"
            assert isinstance(await processes.login("after", user, right), LoginSucceeded)
    assert point > 8, "a move has a point before each of its calls, and one after the last"


class Forgetful:
    """A store that fails over at one of the points before and after its calls: what the last points wrote is lost."""

    def __init__(self, world, point, lost):
        self.world, self.point, self.lost = world, point, lost
        self.kept = []

    @property
    def has_failed_over(self):
        return len(self.kept) > self.point

    async def run(self, script, keys, args):
        return await self._between(self.world.stores.accounts.run, script, keys, args)

    async def run_durably(self, script, keys, args):
        return await self._between(self.world.stores.accounts.run_durably, script, keys, args)

    async def _between(self, run, *call):
        await self._pass_point()
        reply = await run(*call)
        await self._pass_point()
        return reply

    async def _pass_point(self):
        self.kept.append(await dump(self.world))
        if len(self.kept) == self.point + 1:
            await restore(self.world, self.kept[self.point - self.lost])


async def dump(world):
    """Return all that the store of accounts has: each key with its fields and its time to live."""
    return [
        (key, await world.command("accounts", "HGETALL", key), await world.command("accounts", "PTTL", key))
        for key in await keys_of(world, "accounts")
    ]


async def restore(world, dumped):
    await world.command("accounts", "FLUSHDB")
    for key, fields, left_ms in dumped:
        flat = [part for pair in pairs(fields) for part in pair]
        await world.command("accounts", "HSET", key, *flat)
        if left_ms >= 0:
            await world.command("accounts", "PEXPIRE", key, left_ms)


@pytest.mark.parametrize("lost", [1, 2, 4, 6])
async def test_no_failover_within_a_move_loses_the_account(fake, lost):
    """At each point of a move what its last points wrote is lost: the account is there after it."""
    processes = Processes(fake)
    for point in count(lost):
        user = f"user {point}"
        await restore(fake, ())
        await processes.sign_up("before", user)
        store = Forgetful(fake, point, lost)

        answer = await processes.login("front", user, accounts=store)
        assert isinstance(answer, LoginSucceeded)

        if not store.has_failed_over:
            break
        await fake.advance(MINUTE_MS)
        assert isinstance(await processes.login("front", user), LoginSucceeded), f"point {point}"
        assert isinstance(await processes.login("after", user), LoginSucceeded), f"point {point}"
    assert point > lost


async def sign_up_behind(processes, user):
    return await processes.sign_up("behind", user, OTHER)


async def sign_up_in_front(processes, user):
    return await processes.sign_up("front", user, OTHER)


async def login_meanwhile(processes, user):
    await processes.login("behind", user)


@pytest.mark.parametrize(
    "overtake", [sign_up_behind, sign_up_in_front, login_meanwhile, stop], ids=lambda one: one.__name__
)
async def test_of_sign_ups_under_two_secrets_one_gets_the_name(world, processes, overtake):
    """At each point of a sign-up another one, a login, or a crash: one account at most, and none half-made."""
    for point in POINTS:
        user = f"user {point}"
        answers = {}

        async def overtaking(user=user, answers=answers):
            answers[OTHER] = await overtake(processes, user)

        store = Interleaved(world.stores.accounts, point, overtaking)
        with contextlib.suppress(Stopped):
            answers[RIGHT] = await processes.sign_up("front", user, accounts=store)
        if not store.overtaken:
            break

        made = [password for password, answer in answers.items() if isinstance(answer, AccountCreated)]
        assert len(made) <= 1, f"point {point}"
        await world.advance(MINUTE_MS)
        opening = {
            password
            for password in (RIGHT, OTHER)
            for order in ("behind", "front")
            if isinstance(await processes.login(order, user, password), LoginSucceeded)
        }
        assert opening == set(made) or (overtake is stop and opening <= {RIGHT}), f"point {point}"
        again = await processes.sign_up("front", user, WRONG)
        assert isinstance(again, NameTaken if opening else AccountCreated), f"point {point}"
    assert point > 6


async def test_a_disabled_account_stays_disabled_when_it_moves(world, processes):
    """Another verb may move an account whose user cannot log in: all that it is moves with it."""
    await processes.sign_up("before", "ada")
    await world.command("accounts", "HSET", processes.key("before", "ada"), "dis", 1)
    records, name = await processes.found("ada")

    await records.settle(name)

    assert (await stored(world, processes.key("after", "ada")))["dis"] == "1"
    assert await processes.login("front", "ada") == WrongCredentials()


async def test_a_move_that_replicas_confirm_is_three_calls(world, processes):
    """Only an arrival that a failover could lose is sent again behind the removal."""
    await processes.sign_up("before", "ada")
    store = Replicated(world.stores.accounts)
    here, there = (processes.key(order, "ada") for order in ("before", "after"))

    await processes.login("front", "ada", accounts=store)

    moved = [("accounts/depart", (here,)), ("accounts/arrive", (there,)), ("accounts/remove", (here,))]
    assert store.calls[4:-2] == [*moved, ("accounts/replace", (there,))]


async def test_what_a_crash_left_behind_is_removed_by_the_next_login(world, processes):
    """After a crash between arrival and removal the marked record counts no more, and goes."""
    await processes.sign_up("before", "ada")
    here, there = (processes.key(order, "ada") for order in ("before", "after"))
    store = Interleaved(world.stores.accounts, 11, lambda: stop(processes, "ada"))
    with pytest.raises(Stopped):
        await processes.login("front", "ada", accounts=store)
    assert await lasting(world, [here, there]) == [here, there]

    assert await processes.login("front", "ada", WRONG) == WrongCredentials()
    assert await lasting(world, [here, there]) == [here, there]
    assert isinstance(await processes.login("front", "ada"), LoginSucceeded)

    assert await lasting(world, [here, there]) == [there]
    await world.advance(MINUTE_MS)
    assert await keys_of(world, "accounts") == [there]


async def test_an_account_that_has_moved_meanwhile_is_found_where_it_went(world, processes):
    """A login that comes so late that the marked record is gone renews the hash under the new key."""
    await processes.sign_up("before", "ada")

    async def move():
        records, name = await processes.found("ada")
        await records.settle(name)
        await world.advance(MINUTE_MS)

    store = Interleaved(world.stores.accounts, 8, move)
    answer = await processes.login("front", "ada", accounts=store)
    assert isinstance(answer, LoginSucceeded)

    assert (await processes.found("ada"))[1].credentials.older_secret is None
    assert await keys_of(world, "accounts") == [processes.key("after", "ada")]


async def test_what_is_not_confirmed_is_no_account(world, processes):
    """A name that a sign-up has reserved is taken, and its password opens nothing before the account is confirmed."""
    made = await processes.setup("front").passwords.hash(RIGHT.encode())
    key, run = processes.key("front", "ada"), world.stores.accounts.run
    await run("accounts/create", [key], record("ada", made.phc, made.key_id, pending_ms=MINUTE_MS))

    assert await processes.login("front", "ada") == WrongCredentials()
    assert await processes.sign_up("behind", "ada") == NameTaken(user="ada")
    assert await run("accounts/depart", [key], ["0b", ""]) == []
    assert await run("accounts/confirm", [key], ["r1"]) == [1]
    assert isinstance(await processes.login("front", "ada"), LoginSucceeded)
    assert await lasting(world, [key]) == [key]


async def test_a_sign_up_that_stalls_for_a_minute_gets_no_name(world, processes):
    """What it reserved is gone, and may be another's: it is not confirmed, and nothing is written."""

    async def stall():
        await world.advance(MINUTE_MS)

    store = Interleaved(world.stores.accounts, 8, stall)

    assert await processes.sign_up("front", "ada", accounts=store) == NameTaken(user="ada")

    assert store.overtaken
    assert await keys_of(world, "accounts") == []


async def test_a_move_to_a_secret_that_is_gone_is_redirected(world, processes):
    """After a crash in the middle of a move, and a rotation, the next login moves the account to the newest secret."""
    await processes.sign_up("before", "ada")
    key = processes.key("before", "ada")
    assert (await world.stores.accounts.run("accounts/depart", [key], ["0badc0de", ""]))[-1] == b"0badc0de"

    assert isinstance(await processes.login("front", "ada"), LoginSucceeded)

    assert isinstance(await processes.login("after", "ada"), LoginSucceeded)


async def test_a_move_to_a_secret_that_this_process_lacks_is_left_alone(world, processes):
    """Another process may move it under a secret that only it knows: the login succeeds, and the account stays."""
    await processes.sign_up("before", "ada")
    key = processes.key("before", "ada")

    async def depart():
        await world.stores.accounts.run("accounts/depart", [key], ["0badc0de", ""])

    store = Interleaved(world.stores.accounts, 8, depart)
    answer = await processes.login("front", "ada", accounts=store)
    assert isinstance(answer, LoginSucceeded)

    assert store.overtaken
    assert (await stored(world, key))["to"] == "0badc0de"
    assert await keys_of(world, "accounts") == [key]


async def test_a_repeated_step_changes_nothing(world, processes):
    """A step whose answer was lost may be sent again, also late: it answers the same, and undoes no later one."""
    run = world.stores.accounts.run
    here, there = (processes.key(order, "ada") for order in ("before", "after"))
    await run("accounts/create", [here], record("ada", "hash-1", "0a"))
    arrival = [1, 7, 0, "ada", "hash-1", "0a", "r1", ""]
    change = ["r1", "hash-1", "hash-2", "0b", 0, "r2", ""]

    departures = [await run("accounts/depart", [here], [target, ""]) for target in ("0b", "0b", "0c")]
    arrivals = [await run("accounts/arrive", [there], arrival) for _ in range(2)]
    await run("accounts/replace", [there], change)
    arrivals.append(await run("accounts/arrive", [there], arrival))
    others = [await run("accounts/remove", [here], [*other, 0]) for other in ((1, "r1"), (0, "r2"))]
    removals = [await run("accounts/remove", [here], [0, "r1", MINUTE_MS]) for _ in range(2)]

    assert departures[0][:3] == [0, 7, 0]
    assert departures == [departures[0]] * 3
    assert departures[0][3:] == [b"ada", b"hash-1", b"0a", b"r1", b"", b"0b"]
    assert arrivals == [[1]] * 3
    assert (others, removals) == ([[0]] * 2, [[1]] * 2)
    assert await run("accounts/load", [there], []) == [1, 7, 0, 0, b"ada", b"hash-2", b"0b", b"r2", b"", b""]
    assert await run("accounts/replace", [here], change) == [0]
    assert await run("accounts/delete", [here], ["r1", "hash-1", MINUTE_MS]) == [0, 0]
    assert await run("accounts/confirm", [there], ["r2"]) == [1]
    assert await run("accounts/confirm", [there], ["r9"]) == [0]
    assert await run("accounts/remove", [there], [1, "r2", 0]) == [0]
    assert await run("accounts/remove", [there], [2, "r2", 0]) == [0]
    await world.advance(MINUTE_MS)
    assert await run("accounts/depart", [here], ["0b", ""]) == []
    assert await lasting(world, [there]) == [there]


async def test_two_logins_at_once_move_an_account_once(world, processes):
    """Ten logins at the same time, at processes of both orders, leave one account that opens for all of them."""
    await processes.sign_up("before", "ada")

    answers = await asyncio.gather(*(processes.login(order, "ada") for order in ("front", "behind") * 5))

    assert all(isinstance(answer, LoginSucceeded) for answer in answers)
    for order in ("behind", "front"):
        assert isinstance(await processes.login(order, "ada"), LoginSucceeded)
    keys = [processes.key(order, "ada") for order in ("before", "after")]
    assert await lasting(world, keys) == [keys[1]]
