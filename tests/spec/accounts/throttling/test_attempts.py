"""Attempts that end without an outcome cost nothing, and those whose outcome could be learned stay charged."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from tests import watched
from tests.accounts import HERE, RIGHT, WRONG, Setup
from tollhouse.accounts.outcomes import AccountCreated, LoginSucceeded, NameTaken, WrongCredentials
from tollhouse.accounts.throttling.attempts import Attempts, login_takes
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.worker_pool import WorkerPool

DOWN = StoreUnavailable("accounts", "not-sent", "it is down")


class Accounts:
    """A store of accounts that raises StoreUnavailable in place of the scripts in `failing`."""

    def __init__(self, store):
        self.store = store
        self.failing = ()

    async def run(self, script, names, args):
        if script in self.failing:
            raise DOWN
        return await self.store.run(script, names, args)

    async def run_durably(self, script, names, args):
        if script in self.failing:
            raise DOWN
        return await self.store.run_durably(script, names, args)


class Pool:
    """Runs hashes in threads, which wait for the gate; with `full` it refuses like a queue that is too slow."""

    def __init__(self, threads=8):
        self.pool = WorkerPool("password hashing", threads, queued=64, finish=True)
        self.full = False
        self.called = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)

    def require_place(self):
        self.pool.require_place()

    async def run(self, function, *arguments):
        self.called.set()
        await self.open.wait()
        if self.full:
            raise Overloaded("password hashing", 2_000)
        gated = (self._gated(one) if getattr(one, "__name__", "") == "on_begin" else one for one in arguments)
        return await self.pool.run(function, *gated)

    async def until_begun(self, many=1):
        for _ in range(many):
            assert await asyncio.to_thread(self.begun.acquire, timeout=10)

    def wait_in_thread(self):
        self.begun.release()
        assert self.gate.wait(10)

    def close(self):
        self.pool.close()

    def _gated(self, on_begin):
        def begin():
            on_begin()
            self.wait_in_thread()

        return begin


class Service(Setup):
    """Accounts of which a specification disturbs the stores and the hashing."""

    def __init__(self, world, **pool):
        self.limits = watched.WatchedStore(world.stores.limits)
        self.store = Accounts(world.stores.accounts)
        self.pool = Pool(**pool)
        stores = SimpleNamespace(accounts=self.store, limits=self.limits, sessions=world.stores.sessions)
        limiter = Limiter(self.limits, BUILT_IN, world.keyring, world.metrics)
        super().__init__(world, stores=stores, limiter=limiter, pool=self.pool)

    async def left(self, policy, key):
        return (await self.limiter.peek(policy, key)).limits[0].remaining

    async def left_of_login(self):
        return await self.left("login", "account:ada"), await self.left("login-address", f"address:{HERE}")

    async def left_of_sign_up(self):
        return await self.left("signup", f"address:{HERE}")


@pytest.fixture
async def service(world):
    """A service on which `ada` signed up."""
    await Setup(world).sign_up("ada")
    await world.command("limits", "FLUSHDB")
    service = Service(world)
    yield service
    service.pool.gate.set()
    service.pool.open.set()
    service.limits.release()
    await service.accounts.aclose()
    service.passwords.close()


UNCHARGED = (5, 30)
CHARGED = (4, 29)


async def left_by(call):
    """Cancel a call, and wait until it has ended."""
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_login_that_an_outage_ends_costs_nothing(service):
    """While accounts cannot be looked up no login is charged, so the owner logs in when they can again.

    Nor is one charged and refunded, which would be three calls and two announcements for every request of a flood.
    """
    service.store.failing = ("accounts/load",)
    for _ in range(40):
        with pytest.raises(StoreUnavailable):
            await service.login("ada")

    assert service.limits.calls == []
    assert await service.left_of_login() == UNCHARGED
    service.store.failing = ()
    assert isinstance(await service.login("ada"), LoginSucceeded)


async def test_a_login_that_an_overload_ends_costs_nothing(service):
    """A hash that waited in vain for a thread has told nothing, so its attempt is refunded."""
    service.pool.full = True
    for _ in range(40):
        with pytest.raises(Overloaded):
            await service.login("ada", WRONG)

    assert await service.left_of_login() == UNCHARGED
    assert service.logins("overloaded") == 40


async def test_an_outage_of_everything_is_never_a_refusal(service):
    """While the limits are counted in the process too, each login is answered by the outage, not by a limit."""
    service.limits.fail()
    service.store.failing = ("accounts/load",)

    for _ in range(40):
        with pytest.raises(StoreUnavailable):
            await service.login("ada")


async def test_right_passwords_are_not_counted_while_the_limits_are_down(service):
    """An owner who logs in often during an outage of the limits is not refused, and guesses still are."""
    service.limits.fail()

    right = [await service.login("ada") for _ in range(8)]
    wrong = [await service.login("ada", WRONG) for _ in range(6)]

    assert all(isinstance(one, LoginSucceeded) for one in right)
    assert wrong.count(WrongCredentials()) == 5


async def test_a_client_that_leaves_before_its_hash_began_is_not_charged(service):
    """While its hash is queued nothing was computed and nothing told."""
    service.pool.gate.clear()
    others = [asyncio.create_task(service.pool.run(service.pool.wait_in_thread)) for _ in range(8)]
    await service.pool.until_begun(8)
    service.pool.called.clear()
    queued = asyncio.create_task(service.login("ada", WRONG))
    await service.pool.called.wait()
    await left_by(queued)

    assert await service.left_of_login() == UNCHARGED
    service.pool.gate.set()
    await asyncio.gather(*others)
    assert service.hashes_computed == 1


@pytest.mark.parametrize(("password", "expected"), [(WRONG, CHARGED), (RIGHT, UNCHARGED)], ids=["wrong", "right"])
async def test_a_client_that_leaves_during_its_hash_is_charged_by_the_outcome(service, password, expected):
    """A hash that has begun is computed to its end, and settles the attempt as if the client had stayed."""
    service.pool.gate.clear()
    login = asyncio.create_task(service.login("ada", password))
    await service.pool.until_begun()

    asyncio.get_running_loop().call_soon(service.pool.gate.set)
    await left_by(login)

    assert await service.left_of_login() == expected


async def test_a_call_that_is_cancelled_again_during_its_hash_stays_charged(service):
    """It does not wait for the outcome, and a hash that runs without one is not refunded."""
    service.pool.gate.clear()
    login = asyncio.create_task(service.login("ada", WRONG))
    await service.pool.until_begun()

    login.cancel()
    await watched.ticks()
    assert not login.done()
    await left_by(login)

    assert await service.left_of_login() == CHARGED


async def test_leaving_early_makes_no_more_hashes(service):
    """Of 50 clients that leave as soon as their hash runs five are hashed, as of those that wait."""
    service.pool.gate.clear()
    logins = [asyncio.create_task(service.login("ada", WRONG, address=f"198.51.100.{i}")) for i in range(50)]
    await service.pool.until_begun(5)

    for login in logins:
        login.cancel()
    service.pool.gate.set()
    await asyncio.gather(*logins, return_exceptions=True)

    assert service.hashes_computed == 1 + 5
    assert await service.left("login", "account:ada") == 0


async def test_a_client_that_leaves_while_it_is_charged_is_refunded(service):
    """The charge may be under way when the client leaves: it is awaited, and given back."""
    service.limits.hold()
    login = asyncio.create_task(service.login("ada", WRONG))
    await service.limits.until_in_flight(1)

    await left_by(login)
    service.limits.release()
    await service.accounts.aclose()

    assert service.limits.scripts == ["limits/take_all", "limits/refund", "limits/refund"]
    assert await service.left_of_login() == UNCHARGED


async def test_a_client_that_leaves_during_the_refund_is_refunded(service):
    """The refund is a task of its own, so that no second cancellation loses it."""
    service.pool.full = True
    service.pool.open.clear()
    login = asyncio.create_task(service.login("ada"))
    await service.pool.called.wait()
    service.limits.hold()
    service.pool.open.set()
    await service.limits.until_in_flight(2)

    await left_by(login)
    service.limits.release()
    await service.limiter.aclose()

    assert await service.left_of_login() == UNCHARGED


async def test_a_refund_that_fails_is_logged_and_hides_no_error(service, caplog):
    """The caller is told of the overload; the attempt stays charged until its window has passed."""
    service.pool.full = True
    service.pool.open.clear()
    login = asyncio.create_task(service.login("ada"))
    await service.pool.called.wait()
    service.limits.fail()
    service.pool.open.set()

    with pytest.raises(Overloaded):
        await login

    lost = [record for record in caplog.records if vars(record)["event"] == "refund lost"]
    assert {record.policy for record in lost} == {"login", "login-address"}
    assert all("ada" not in record.reason for record in lost)
    service.limits.heal()
    assert await service.left_of_login() == CHARGED


async def test_a_reset_takes_a_bounded_time(service, caplog):
    """A store that holds the reset of an account's limit back is not waited for, and the loss is logged."""
    attempts = Attempts(service.limiter, settle_s=0)
    attempt = await attempts.charge(login_takes("ada", HERE))
    attempt.on_match()
    service.limits.hold()
    settling = asyncio.create_task(attempts.settle(attempt))
    await watched.ticks(50)

    service.limits.release()
    await settling

    assert [record.policy for record in caplog.records if vars(record)["event"] == "reset lost"] == ["login"]
    assert await service.left_of_login() == (4, 30)


async def test_a_sign_up_that_an_outage_or_an_overload_ends_costs_nothing(service):
    """While names cannot be looked up, or no thread is free, no sign-up is charged."""
    service.store.failing = ("accounts/load",)
    for _ in range(30):
        with pytest.raises(StoreUnavailable):
            await service.sign_up("eve")
    service.store.failing = ()
    service.pool.full = True
    for user in ("ada", "eve") * 15:
        with pytest.raises(Overloaded):
            await service.sign_up(user)

    assert await service.left_of_sign_up() == 20
    service.pool.full = False
    assert isinstance(await service.sign_up("eve"), AccountCreated)


async def test_a_sign_up_that_could_tell_whether_a_name_is_taken_is_charged(service):
    """A name that is taken, a client that leaves during the hash, and an account that could not be written."""
    assert await service.sign_up("ada") == NameTaken(user="ada")
    assert await service.left_of_sign_up() == 19
    await service.pool.until_begun()
    service.pool.gate.clear()
    sign_up = asyncio.create_task(service.sign_up("eve"))
    await service.pool.until_begun()
    asyncio.get_running_loop().call_soon(service.pool.gate.set)
    await left_by(sign_up)
    assert await service.left_of_sign_up() == 18
    service.store.failing = ("accounts/create",)

    with pytest.raises(StoreUnavailable):
        await service.sign_up("eve")

    assert await service.left_of_sign_up() == 17
