"""Guesses that end without an outcome cost nothing, and those whose outcome could be learned stay charged."""

from __future__ import annotations

import asyncio

import pytest

from tests import watched
from tests.accounts import HERE, RIGHT, WRONG, Setup
from tests.attempts import Service, left_by
from tollhouse.accounts.login_client import LoginClient
from tollhouse.accounts.outcomes import LoginSucceeded, WrongCredentials
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.errors import Overloaded, StoreUnavailable


@pytest.fixture
async def service(world):
    """A service on which `ada` signed up."""
    await Setup(world).sign_up("ada")
    await world.command("limits", "FLUSHDB")
    service = Service(world)
    yield service
    await service.close()


UNCHARGED = (0, 0)
CHARGED = (1, 1)


async def test_a_login_that_an_outage_ends_costs_nothing(service):
    """While accounts cannot be looked up no login is charged, so the owner logs in when they can again.

    Nor is one charged and refunded, which would be three calls and two announcements for every request of a flood.
    """
    service.store.failing = ("accounts/load",)
    for _ in range(40):
        with pytest.raises(StoreUnavailable):
            await service.login("ada")

    assert service.limits.calls == []
    assert await service.failures() == UNCHARGED
    service.store.failing = ()
    assert isinstance(await service.login("ada"), LoginSucceeded)


async def test_a_login_that_an_overload_ends_costs_nothing(service):
    """A hash that waited in vain for a thread has told nothing, so its attempt is refunded."""
    service.pool.full = True
    for _ in range(40):
        with pytest.raises(Overloaded):
            await service.login("ada", WRONG)

    assert await service.failures() == UNCHARGED
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

    assert await service.failures() == UNCHARGED
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

    assert await service.failures() == expected


async def test_a_call_that_is_cancelled_again_during_its_hash_stays_charged(service):
    """It does not wait for the outcome, and a hash that runs without one is not refunded."""
    service.pool.gate.clear()
    login = asyncio.create_task(service.login("ada", WRONG))
    await service.pool.until_begun()

    login.cancel()
    await watched.ticks()
    assert not login.done()
    await left_by(login)

    assert await service.failures() == CHARGED


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
    assert (await service.failures())[0] == 5


async def test_a_client_that_leaves_while_it_is_charged_is_refunded(service):
    """The charge may be under way when the client leaves: it is awaited, and given back."""
    service.limits.hold()
    login = asyncio.create_task(service.login("ada", WRONG))
    await service.limits.until_in_flight(1)

    await left_by(login)
    service.limits.release()
    await service.accounts.aclose()

    assert service.limits.scripts == ["limits/begin_guess", "limits/settle_guess"]
    assert await service.failures() == UNCHARGED


async def test_a_client_that_leaves_during_the_refund_is_refunded(service):
    """The refund is a task of its own, so that no second cancellation loses it."""
    service.pool.full = True
    service.pool.open.clear()
    login = asyncio.create_task(service.login("ada"))
    await service.pool.called.wait()
    service.limits.hold()
    service.pool.open.set()
    await service.limits.until_in_flight(1)

    await left_by(login)
    service.limits.release()
    await service.accounts.aclose()

    assert await service.failures() == UNCHARGED


async def test_a_refund_that_fails_is_logged_and_hides_no_error(service, caplog):
    """The caller is told of the overload; the attempt stays charged, and nothing that is logged names the account."""
    service.pool.full = True
    service.pool.open.clear()
    login = asyncio.create_task(service.login("ada"))
    await service.pool.called.wait()
    service.limits.fail()
    service.pool.open.set()

    with pytest.raises(Overloaded):
        await login

    (lost,) = [record for record in caplog.records if vars(record)["event"] == "attempt stays charged"]
    assert "ada" not in lost.reason
    service.limits.heal()
    assert await service.failures() == CHARGED


async def test_a_refund_takes_a_bounded_time(service, world, caplog):
    """A store that holds it back is not waited for, and the loss is logged."""
    throttle = Throttle(service.limits, world.keyring, world.metrics, settle_s=0)
    attempt = await throttle.begin("password", "ada", LoginClient(address=HERE))
    attempt.on_match()
    service.limits.hold()
    settling = asyncio.create_task(throttle.settle(attempt))
    await watched.ticks(50)

    service.limits.release()
    await settling

    assert [record for record in caplog.records if vars(record)["event"] == "attempt stays charged"]


async def test_a_refused_client_that_leaves_is_given_nothing_back(service):
    """A refusal charged nothing, so there is nothing to uncount."""
    for _ in range(5):
        await service.login("ada", WRONG)
    service.limits.calls.clear()
    service.limits.hold()
    login = asyncio.create_task(service.login("ada", WRONG))
    await service.limits.until_in_flight(1)

    await left_by(login)
    service.limits.release()
    await service.accounts.aclose()

    assert service.limits.scripts == ["limits/begin_guess"]
    assert await service.failures() == (5, 5)
