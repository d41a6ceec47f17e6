"""The memory of refusals: what it answers without asking, for how long, and what makes it forget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.watched import PATIENCE_S, Setup, ticks
from tests.worlds import StoreWorld
from tollhouse import keys
from tollhouse.limits.calls.refusal_cache import COSTS_MAX
from tollhouse.limits.decision import Take
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy

TEN = Policy(name="ten", limits=(Limit(units=10, window_ms=60_000, resolution=4),))
BOTH = parse_policy("both", "5/minute; 20/hour")
WATCHING = parse_policy("watching", "5/minute", shadow=True)
TRIED = parse_policy("tried", "5/minute")
CANDIDATE = parse_policy("candidate", "3/minute", shadow=True, shadow_of="tried")
HUNDRED = parse_policy("hundred", "100/minute")
POLICIES = (TEN, BOTH, WATCHING, TRIED, CANDIDATE, HUNDRED)


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    """A limiter that remembers, and hears announcements as far as it knows."""
    setup = Setup(world, *POLICIES, remembered=100)
    setup.limits.refusals.on_subscribed()
    setup.clock.advance(1)
    return setup


async def full(setup: Setup, policy: str = "ten", key: str = "ada", cost: int = 10) -> None:
    """Use a subject's units up, and be refused once."""
    assert (await setup.limits.take(policy, key, cost)).allowed
    assert (await setup.limits.take(policy, key)).refused_by is not None
    setup.store.calls.clear()


async def test_a_refusal_is_repeated_without_asking(setup: Setup) -> None:
    """Whoever was refused is refused again by the process, as often as they come, and each time is counted."""
    await full(setup)

    again = [await setup.limits.take("ten", "ada") for _ in range(10)]
    batched = await setup.limits.take_batch([Take(policy="ten", key="ada"), Take(policy="ten", key="bob")])

    assert not any(one.allowed for one in (*again, batched[0]))
    assert batched[1].allowed
    assert setup.store.sizes == [1]
    assert setup.counted("ten", "refused") == 12


async def test_what_is_repeated_counts_down(setup: Setup) -> None:
    """P3: the waits of a repeated refusal are those that the store would give, millisecond by millisecond."""
    await setup.limits.take("both", "ada", 4)
    await setup.pass_ms(10_000)
    await full(setup, "both", cost=1)

    for passed_ms in (0, 1, 999, 40_000, 12_749):
        await setup.pass_ms(passed_ms)
        repeated = await setup.limits.take("both", "ada")
        assert setup.store.calls == []
        assert repeated == await setup.limits.peek("both", "ada"), passed_ms
        setup.store.calls.clear()
    await setup.pass_ms(1)
    assert (await setup.limits.take("both", "ada")).allowed


async def test_what_is_restored_meanwhile_stays_restored(setup: Setup) -> None:
    """A limit that was whole again before the refusal ends is told as restored, and not in negative time."""
    await setup.limits.take("both", "ada", 5)
    for _ in range(3):
        await setup.pass_ms(64_000)
        await setup.limits.take("both", "ada", 5)
    refused = await setup.limits.take("both", "ada")
    assert refused.refused_by == "20/hour"

    await setup.pass_ms(100_000)

    assert (await setup.limits.take("both", "ada")).limits[0].reset_after_ms == 0


async def test_a_refusal_ends_when_the_wait_since_it_was_sent_is_over(setup: Setup) -> None:
    """An answer that took its time is not held for longer than the store itself would refuse."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_under_way(1)
    setup.clock.advance(300)
    setup.store.release()
    assert (await task).retry_after_ms == 75_000

    setup.clock.advance(74_699)
    assert (await setup.limits.take("ten", "ada")).retry_after_ms == 301
    assert setup.store.sizes == [1, 1]
    setup.clock.advance(1)
    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]


async def test_a_smaller_cost_is_asked_for(setup: Setup) -> None:
    """What was refused to a large take says nothing about a small one, or about a look."""
    await setup.limits.take("ten", "ada", 7)
    await setup.limits.take("ten", "ada", 5)

    small = [await setup.limits.take("ten", "ada", cost) for cost in (0, 3)]

    assert [one.allowed for one in small] == [True, True]


async def test_a_larger_cost_has_its_own_wait(setup: Setup) -> None:
    """P3: a larger take waits longer, so it is asked for once; what is above a limit is never remembered."""
    for _ in range(5):
        await setup.limits.take("ten", "ada", 2)
        await setup.pass_ms(13_000)

    waits_ms = [[(await setup.limits.take("ten", "ada", cost)).retry_after_ms for cost in (1, 4, 5, 8, 10, 11)]]
    asked = len(setup.store.calls)
    waits_ms.append([(await setup.limits.take("ten", "ada", cost)).retry_after_ms for cost in (1, 4, 5, 8, 10, 11)])

    assert waits_ms == [[10_000, 10_000, 25_000, 40_000, 55_000, None]] * 2
    assert len(setup.store.calls) - asked == 1


async def test_a_flood_of_costs_is_refused_too(setup: Setup) -> None:
    """Who tries ever more costs is told the wait of the nearest smaller one that is known; a look is still a look."""
    await setup.limits.take("hundred", "ada", 100)
    for cost in range(2, 2 + COSTS_MAX):
        await setup.limits.take("hundred", "ada", cost)
    setup.store.calls.clear()

    flood = [await setup.limits.take("hundred", "ada", cost) for cost in range(20, 101)]

    assert setup.store.calls == []
    assert [one.cost for one in flood] == list(range(20, 101))
    assert {one.retry_after_ms for one in flood} == {63_750}
    assert (await setup.limits.take("hundred", "ada", 0)).allowed
    assert (await setup.limits.take("hundred", "ada", 101)).reason == "cost-above-limit"
    assert (await setup.limits.take("hundred", "ada", 1)).retry_after_ms == 63_750
    assert len(setup.store.calls) == 3


@pytest.mark.parametrize("policy", ["watching", "tried"])
async def test_whoever_counts_on_every_take_is_asked(setup: Setup, policy: str) -> None:
    """A shadow, and a policy with another beside it, are asked each time: their counts would be wrong otherwise."""
    for _ in range(7):
        await setup.limits.take(policy, "ada")

    assert len(setup.store.calls) == 7


async def test_nothing_is_remembered_unless_asked_for(world: StoreWorld) -> None:
    """A limiter without `remembered` asks the store each time."""
    setup = Setup(world, TEN)
    await setup.limits.take("ten", "ada", 10)

    for _ in range(3):
        await setup.limits.take("ten", "ada")

    assert len(setup.store.calls) == 4


async def test_units_that_come_back_end_it(setup: Setup) -> None:
    """A refund, a reset and a settlement in this process let the next take through."""
    reservation = await setup.limits.reserve("ten", "eve", 10)
    assert reservation.id is not None
    assert not (await setup.limits.take("ten", "eve")).allowed
    for key in ("ada", "bob"):
        await full(setup, key=key)

    await setup.limits.refund("ten", "ada", 1)
    await setup.limits.reset("ten", "bob")
    await setup.limits.settle("ten", "eve", reservation.id, 4)

    assert [(await setup.limits.take("ten", key)).allowed for key in ("ada", "bob", "eve")] == [True] * 3


async def test_units_that_may_have_come_back_end_it(setup: Setup) -> None:
    """A refund that was sent and not answered may have been done, so the store is asked again."""
    await full(setup)
    setup.store.fail("ambiguous")
    with pytest.raises(Exception, match="it is down"):
        await setup.limits.refund("ten", "ada", 1)
    setup.store.heal()

    assert (await setup.limits.take("ten", "ada")).allowed


async def test_other_policies_end_it(setup: Setup) -> None:
    """A new set of policies begins with no memory, also for refusals by the old set that arrive later."""
    await full(setup)
    setup.store.hold()
    late = [asyncio.create_task(setup.limits.take("ten", key)) for key in ("ada", "bob")]
    await ticks()
    setup.limits.replace_policies({"ten": parse_policy("ten", "20/minute")})
    setup.clock.advance(1)
    setup.store.release()
    await asyncio.gather(*late)

    assert (await setup.limits.take("ten", "ada")).allowed


async def test_a_take_that_waited_since_before_a_reload_is_not_remembered(setup: Setup) -> None:
    """What was read by the old policies is decided by them, and says nothing about the new ones."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    busy = [asyncio.create_task(setup.limits.take("both", "x"))]
    await setup.store.until_under_way(1)
    busy.append(asyncio.create_task(setup.limits.take("both", "x")))
    await setup.store.until_under_way(2)
    waiting = asyncio.create_task(setup.limits.take("ten", "ada"))
    await ticks()

    setup.limits.replace_policies({"ten": parse_policy("ten", "20/minute")})
    setup.clock.advance(1)
    setup.store.release()
    await asyncio.gather(*busy)

    assert not (await waiting).allowed
    assert (await setup.limits.take("ten", "ada")).allowed


async def test_a_refusal_that_was_under_way_when_units_came_back_is_not_remembered(setup: Setup) -> None:
    """Sent before and answered after an announcement, a refusal may be older than the units that came back."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_under_way(1)
    (call,) = setup.store.calls[-1:]

    setup.limits.refusals.on_cleared(f"1800000000000 {call.keys[0]}".encode())
    setup.clock.advance(5)
    setup.store.release()
    await task
    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]
    await setup.limits.take("ten", "ada")
    assert setup.store.sizes == [1, 1, 1]


async def test_unheard_announcements_shorten_it(world: StoreWorld) -> None:
    """While announcements are not known to be heard, a refusal is repeated for a second at most."""
    setup = Setup(world, TEN, remembered=100)
    await full(setup)
    setup.clock.advance(999)
    assert (await setup.limits.take("ten", "ada")).retry_after_ms == 74_001
    assert setup.store.calls == []

    setup.clock.advance(1)
    await setup.limits.take("ten", "ada")

    assert len(setup.store.calls) == 1


async def test_a_refusal_from_before_announcements_were_heard_is_held_for_a_second(world: StoreWorld) -> None:
    """Only what was sent after announcements began can be held for as long as the store refuses."""
    setup = Setup(world, TEN, remembered=100)
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_under_way(1)
    setup.clock.advance(1)
    setup.limits.refusals.on_subscribed()
    setup.store.release()
    await task

    setup.clock.advance(1_000)
    await setup.limits.take("ten", "ada")
    setup.clock.advance(30_000)
    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]


async def test_missed_announcements_end_it(setup: Setup) -> None:
    """When the connection was lost everything is forgotten: what came back meanwhile was not heard of."""
    await full(setup)

    setup.limits.refusals.on_gap()
    setup.clock.advance(1)

    await setup.limits.take("ten", "ada")
    setup.clock.advance(1_000)
    await setup.limits.take("ten", "ada")
    assert len(setup.store.calls) == 2


async def test_the_memory_is_bounded(world: StoreWorld) -> None:
    """Of more keys than fit those are forgotten that were refused first."""
    setup = Setup(world, TEN, remembered=2)
    setup.limits.refusals.on_subscribed()
    setup.clock.advance(1)
    for key in ("ada", "bob", "eve"):
        await full(setup, key=key)

    for key in ("eve", "bob", "ada"):
        await setup.limits.take("ten", key)

    assert len(setup.store.calls) == 1


async def test_what_was_cleared_is_remembered_within_bounds(setup: Setup) -> None:
    """After very many announcements an older call counts as sent before one of them, whatever it asked for."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_under_way(1)
    setup.clock.advance(1)
    for i in range(5_000):
        setup.limits.refusals.on_cleared(f"1800000000000 tollhouse:rate:{{{i}}}:ten".encode())
    setup.store.release()
    await task

    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"1 ", b"1 \xff\xfe", b"1 " + b"x" * 10_000])
async def test_other_announcements_mean_nothing(setup: Setup, payload: bytes) -> None:
    """What no script of ours announces is passed over."""
    await full(setup)

    setup.limits.refusals.on_cleared(payload)
    await setup.limits.take("ten", "ada")

    assert setup.store.calls == []


async def test_of_takes_decided_together_only_those_are_remembered_that_refuse(setup: Setup) -> None:
    """A key whose own limits would admit is not held back because it once was refused along with another."""
    await setup.limits.take("ten", "ada", 10)

    together = await setup.limits.take_all([Take(policy="ten", key="ada"), Take(policy="both", key="bob")])
    setup.store.calls.clear()
    alone = [await setup.limits.take("ten", "ada"), await setup.limits.take("both", "bob")]

    assert not together.allowed
    assert [one.allowed for one in alone] == [False, True]
    assert setup.store.sizes == [1]


async def test_as_many_as_there_are_is_nothing_where_not_one_is_left(setup: Setup) -> None:
    """`take_up_to` and `reserve` are refused from memory as a take of one, or of the estimate, would be."""
    await full(setup)

    up_to, reservation = await setup.limits.take_up_to("ten", "ada", 5), await setup.limits.reserve("ten", "ada", 1)

    assert (up_to.allowed, up_to.cost, up_to.retry_after_ms) == (False, 0, 75_000)
    assert (reservation.decision.allowed, reservation.id) == (False, None)
    assert setup.store.calls == []


class Process:
    """A limiter with connections of its own, which hears what others announce."""

    def __init__(self, world: StoreWorld) -> None:
        self.stores = world.open_stores()
        self.setup = Setup(world, TEN, store=self.stores.limits, remembered=100)
        self.limits = self.setup.limits
        self.listening = asyncio.Event()
        self.heard = asyncio.Event()
        refused = self.limits.refusals
        self.stores.limits.listen(keys.rate_clearings(), self._hear, refused.on_gap, self._begin)

    async def open(self) -> None:
        await self.limits.peek("ten", "nobody")
        async with asyncio.timeout(PATIENCE_S):
            await self.listening.wait()
        self.setup.clock.advance(1)

    def _begin(self) -> None:
        self.limits.refusals.on_subscribed()
        self.listening.set()

    def _hear(self, payload: bytes) -> None:
        self.limits.refusals.on_cleared(payload)
        self.heard.set()


@pytest.fixture
async def here_and_there(world: StoreWorld) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes that hear of each other."""
    processes = Process(world), Process(world)
    for process in processes:
        await process.open()
    yield processes
    for process in processes:
        await process.stores.aclose()


@pytest.mark.parametrize("how", ["refund", "reset", "settle"])
async def test_other_processes_hear_that_units_came_back(here_and_there: tuple[Process, Process], how: str) -> None:
    """What another process gives back ends the memory of this one as soon as it is announced."""
    here, there = here_and_there
    reservation = await there.limits.reserve("ten", "ada", 5)
    assert reservation.id is not None
    await full(here.setup, cost=5)
    here.setup.clock.advance(2_000)
    assert not (await here.limits.take("ten", "ada")).allowed
    assert here.setup.store.calls == []

    match how:
        case "refund":
            await there.limits.refund("ten", "ada", 1)
        case "reset":
            await there.limits.reset("ten", "ada")
        case _:
            await there.limits.settle("ten", "ada", reservation.id, 1)
    async with asyncio.timeout(PATIENCE_S):
        await here.heard.wait()

    assert (await here.limits.take("ten", "ada")).allowed
