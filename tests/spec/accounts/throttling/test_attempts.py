"""Sign-ups that end without an outcome cost nothing, and those whose outcome could be learned stay charged."""

from __future__ import annotations

import asyncio

import pytest

from tests.accounts import ELSEWHERE, HERE, Setup
from tests.attempts import Service, left_by
from tollhouse.accounts.outcomes import AccountCreated, NameTaken, TooManyAttempts
from tollhouse.accounts.throttling.attempts import sign_up_takes
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN


@pytest.fixture
async def service(world):
    """A service on which `ada` signed up."""
    await Setup(world).sign_up("ada")
    await world.command("limits", "FLUSHDB")
    service = Service(world)
    yield service
    await service.close()


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


async def test_a_client_that_leaves_while_its_sign_up_is_charged_is_refunded(service):
    """The charge may be under way when the client leaves: it is awaited, and given back."""
    service.limits.hold()
    sign_up = asyncio.create_task(service.sign_up("eve"))
    await service.limits.until_in_flight(1)

    await left_by(sign_up)
    service.limits.release()
    await service.accounts.aclose()

    assert service.limits.scripts == ["limits/take_all", "limits/refund"]
    assert await service.left_of_sign_up() == 20


async def test_sign_ups_of_one_address_are_limited(world):
    """The 21st sign-up of an hour is refused before any hash, also when the name is taken."""
    setup = Setup(world)
    for _ in range(20):
        await setup.sign_up("ada")
    computed = setup.hashes_computed

    answer = await setup.sign_up("eve")

    assert isinstance(answer, TooManyAttempts)
    assert answer.decision.policy == "signup"
    assert setup.hashes_computed == computed
    assert isinstance(await setup.sign_up("eve", address=ELSEWHERE), AccountCreated)


async def test_a_known_refusal_of_a_sign_up_costs_no_store_call(world):
    """While a flood of sign-ups goes on, the process repeats the refusal that it got."""
    limiter = Limiter(world.stores.limits, BUILT_IN, world.keyring, world.metrics, refusals_max=100)
    setup = Setup(world, limiter=limiter)
    await limiter.take("signup", f"address:{HERE}", 20)
    first = await setup.sign_up("ada")

    again = await Setup(world, limiter=limiter, stores=None).sign_up("eve")

    assert isinstance(first, TooManyAttempts)
    assert isinstance(again, TooManyAttempts)
    assert limiter.cached_refusal(sign_up_takes(HERE)) is not None
