"""The book of quota leases: its bounds, and what no store is needed to see."""

from __future__ import annotations

import asyncio

from tests.clocks import Clock
from tests.worlds import StoreWorld
from tollhouse.keys import UNNAMED
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.quota.lease import QuotaLease
from tollhouse.limits.quota.leases import QuotaLeases
from tollhouse.limits.wire.compiled_policy import compile_policies
from tollhouse.limits.wire.reply import decision_at
from tollhouse.limits.wire.request import RequestReader, TakeRequest

API = parse_policy("api", "1000/minute", lease="auto")


def reader(world: StoreWorld) -> RequestReader:
    return RequestReader(compile_policies({"api": API}, 1), world.keyring, UNNAMED)


def lease(request: TakeRequest, size: int = 10) -> QuotaLease:
    granted = decision_at(request, [0, 0, 900, 63_000], 0)
    loop = asyncio.get_running_loop()
    return QuotaLease(request, granted, loop, size=size, charged_ms=1, deadline_ms=1_000, ready_ms=0)


async def test_leases_are_bounded(world: StoreWorld) -> None:
    """Beyond the bound, with those on their way, no other key leases; one that has a lease may have the next."""
    requests = reader(world)
    ada, bob = (requests.read("api", key) for key in ("ada", "bob"))
    quota = QuotaLeases(clock=Clock().monotonic_ms, leases_max=1)
    assert [quota.wanted(ada, 0) for _ in range(4)] == [0, 0, 0, 80]
    quota.put(lease(ada))

    assert [quota.wanted(bob, 0) for _ in range(9)] == [0] * 9
    assert quota.wanted(ada, 0) == 100
    quota.end(ada.state_key)
    assert quota.wanted(bob, 1) == 0
    assert quota.wanted(bob, 0) == 220


async def test_a_lease_that_is_replaced_ends(world: StoreWorld) -> None:
    """Every lease ends once: when another one of its key is put in force, when it is overdue, or when it is ended."""
    ada, ended, clock = reader(world).read("api", "ada"), list[QuotaLease](), Clock()
    quota = QuotaLeases(clock=clock.monotonic_ms)
    quota.end(ada.state_key)
    quota.put(former := lease(ada))
    quota.on_end = ended.append
    quota.put(later := lease(ada))

    assert ended == [former]
    assert quota.end_overdue() == 1_000
    clock.advance(1_000)
    assert (quota.take(ada), quota.left(ada)) == (None, 0)
    assert quota.end_overdue() is None
    assert ended == [former, later]


async def test_what_a_lease_admits_is_demand(world: StoreWorld) -> None:
    """The next lease is sized by what the last one admitted, together with what the store was asked for."""
    ada, clock = reader(world).read("api", "ada"), Clock()
    quota = QuotaLeases(clock=clock.monotonic_ms)
    quota.wanted(ada, 0)
    quota.put(lease(ada, 500))
    for _ in range(400):
        assert quota.take(ada) is not None
    clock.advance(500)
    quota.end(ada.state_key)

    assert quota.wanted(ada, 0) == 802


async def test_a_lease_of_another_generation_is_not_used(world: StoreWorld) -> None:
    """A request of the policy as it is in force now finds no lease of the policy as it was."""
    before, after = (reader(world).read("api", "ada") for _ in range(2))
    quota = QuotaLeases(clock=Clock().monotonic_ms)
    quota.put(lease(before))

    assert (quota.take(after), quota.left(after), quota.refund(after, 1)) == (None, 0, False)
    assert quota.take(before) is not None
