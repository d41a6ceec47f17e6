"""The refusal cache: what it answers without a call, for how long, and what evicts."""

from __future__ import annotations

import asyncio

import pytest

from tests.watched import PATIENCE_S, Setup, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.limits.calls.refusal_cache import COSTS_MAX, REPEATED_MS_MAX
from tollhouse.limits.decision import Take
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy

TEN = Policy(name="ten", limits=(Limit(units=10, window_ms=60_000, resolution=4),))
BOTH = parse_policy("both", "5/minute; 20/hour")
WATCHING = parse_policy("watching", "5/minute", shadow=True)
TRIED = parse_policy("tried", "5/minute")
CANDIDATE = parse_policy("candidate", "3/minute", shadow=True, shadow_of="tried")
HUNDRED = parse_policy("hundred", "100/minute")
DAY = parse_policy("day", "10/day")
POLICIES = (TEN, BOTH, WATCHING, TRIED, CANDIDATE, HUNDRED, DAY)


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    """A limiter that caches refusals and believes to be subscribed to the announcements."""
    setup = Setup(world, *POLICIES, refusals_max=100)
    setup.limits.refusals.on_subscribed()
    setup.clock.advance(1)
    return setup


async def full(setup: Setup, policy: str = "ten", key: str = "ada", cost: int = 10) -> None:
    """Use up the units of a subject, and be refused once."""
    assert (await setup.limits.take(policy, key, cost)).allowed
    assert (await setup.limits.take(policy, key)).refused_by is not None
    setup.store.calls.clear()


async def test_a_refusal_is_repeated_without_a_call(setup: Setup) -> None:
    """A refused key is refused again in the process, as often as it is taken, and each refusal is counted."""
    await full(setup)

    again = [await setup.limits.take("ten", "ada") for _ in range(10)]
    batched = await setup.limits.take_batch([Take(policy="ten", key="ada"), Take(policy="ten", key="bob")])

    assert not any(one.allowed for one in (*again, batched[0]))
    assert batched[1].allowed
    assert setup.store.sizes == [1]
    assert setup.counted("ten", "refused") == 12


async def test_a_repeated_refusal_counts_down(setup: Setup) -> None:
    """P3: the waits of a repeated refusal are those that the store would state, millisecond by millisecond."""
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


async def test_a_limit_that_is_restored_meanwhile_stays_restored(setup: Setup) -> None:
    """A limit that is restored before the refusal ends has a reset of 0, and not a negative one."""
    await setup.limits.take("both", "ada", 5)
    for _ in range(3):
        await setup.pass_ms(64_000)
        await setup.limits.take("both", "ada", 5)
    await setup.pass_ms(30_000)
    refused = await setup.limits.take("both", "ada")
    assert refused.refused_by == "20/hour"
    setup.store.calls.clear()

    await setup.pass_ms(40_000)

    assert (await setup.limits.take("both", "ada")).limits[0].reset_after_ms == 0
    assert setup.store.calls == []


async def test_a_refusal_ends_when_the_wait_since_it_was_sent_is_over(setup: Setup) -> None:
    """A refusal whose reply was slow is not repeated for longer than the store itself would refuse."""
    await setup.limits.take("ten", "ada", 10)
    await setup.pass_ms(20_000)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_in_flight(1)
    setup.clock.advance(300)
    setup.store.release()
    assert (await task).retry_after_ms == 55_000

    setup.clock.advance(54_699)
    assert (await setup.limits.take("ten", "ada")).retry_after_ms == 301
    assert setup.store.sizes == [1, 1]
    setup.clock.advance(1)
    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]


async def test_a_store_that_was_emptied_frees_a_key_within_a_minute(setup: Setup) -> None:
    """After FLUSHDB, which announces nothing, a refusal of any length is repeated for a minute at most."""
    await setup.limits.take("day", "ada", 10)
    assert (await setup.limits.take("day", "ada")).retry_after_ms == 90_000_000
    await setup.world.command("limits", "FLUSHDB")

    setup.clock.advance(REPEATED_MS_MAX - 1)
    assert not (await setup.limits.take("day", "ada")).allowed
    setup.clock.advance(1)

    assert (await setup.limits.take("day", "ada")).allowed


async def test_a_flood_of_a_long_refusal_is_one_call_a_minute(setup: Setup) -> None:
    """A refusal that outlasts a minute asks the store once in each, and its waits go on from there."""
    await full(setup, "day")

    for second in range(1, 301):
        await setup.pass_ms(1_000)
        refused = [await setup.limits.take("day", "ada") for _ in range(3)]
        assert {one.retry_after_ms for one in refused} == {90_000_000 - second * 1_000}

    assert len(setup.store.calls) == 5


async def test_a_smaller_cost_is_sent(setup: Setup) -> None:
    """The refusal of a large cost says nothing about a small one, or about a cost of 0."""
    await setup.limits.take("ten", "ada", 7)
    await setup.limits.take("ten", "ada", 5)

    small = [await setup.limits.take("ten", "ada", cost) for cost in (0, 3)]

    assert [one.allowed for one in small] == [True, True]


async def test_a_larger_cost_has_its_own_wait(setup: Setup) -> None:
    """P3: a larger cost waits longer, so it is sent once; a cost above a limit is never cached."""
    for _ in range(5):
        await setup.limits.take("ten", "ada", 2)
        await setup.pass_ms(13_000)

    waits_ms = [[(await setup.limits.take("ten", "ada", cost)).retry_after_ms for cost in (1, 4, 5, 8, 10, 11)]]
    asked = len(setup.store.calls)
    waits_ms.append([(await setup.limits.take("ten", "ada", cost)).retry_after_ms for cost in (1, 4, 5, 8, 10, 11)])

    assert waits_ms == [[10_000, 10_000, 25_000, 40_000, 55_000, None]] * 2
    assert len(setup.store.calls) - asked == 1


async def test_a_flood_of_costs_is_refused_too(setup: Setup) -> None:
    """Once many costs are cached, larger ones get the wait of the next smaller one; a cost of 0 still only looks."""
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
async def test_policies_that_need_every_take_are_not_cached(setup: Setup, policy: str) -> None:
    """A shadow, and a policy that has one, decide each time: the counts of the shadow would be wrong otherwise."""
    for _ in range(7):
        await setup.limits.take(policy, "ada")

    assert len(setup.store.calls) == 7


async def test_nothing_is_cached_by_default(world: StoreWorld) -> None:
    """A limiter without `refusals_max` calls the store each time."""
    setup = Setup(world, TEN)
    await setup.limits.take("ten", "ada", 10)

    for _ in range(3):
        await setup.limits.take("ten", "ada")

    assert len(setup.store.calls) == 4


async def test_units_that_come_back_evict(setup: Setup) -> None:
    """After a refund, a reset and a settlement in this process the store decides the next take."""
    reservation = await setup.limits.reserve("ten", "eve", 10)
    assert reservation.id is not None
    assert not (await setup.limits.take("ten", "eve")).allowed
    for key in ("ada", "bob"):
        await full(setup, key=key)

    await setup.limits.refund("ten", "ada", 1)
    await setup.limits.reset("ten", "bob")
    await setup.limits.settle("ten", "eve", reservation.id, 4)

    assert [(await setup.limits.take("ten", key)).allowed for key in ("ada", "bob", "eve")] == [True] * 3


async def test_units_that_may_have_come_back_evict(setup: Setup) -> None:
    """A refund without a reply may have run, so the store decides the next take."""
    await full(setup)
    setup.store.fail("ambiguous")
    with pytest.raises(StoreUnavailable):
        await setup.limits.refund("ten", "ada", 1)
    setup.store.heal()

    assert (await setup.limits.take("ten", "ada")).allowed


async def test_other_policies_clear_the_cache(setup: Setup) -> None:
    """A new set of policies starts with an empty cache, and refusals by the old set that arrive later stay out."""
    await full(setup)
    setup.store.hold()
    late = [asyncio.create_task(setup.limits.take("ten", key)) for key in ("ada", "bob")]
    await ticks()
    setup.limits.replace_policies({"ten": parse_policy("ten", "20/minute")})
    setup.clock.advance(1)
    setup.store.release()
    await asyncio.gather(*late)

    assert (await setup.limits.take("ten", "ada")).allowed


async def test_a_take_that_was_queued_before_a_reload_is_not_cached(setup: Setup) -> None:
    """A take that was read under the old policies is decided by them, and says nothing about the new ones."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    busy = [asyncio.create_task(setup.limits.take("both", "x"))]
    await setup.store.until_in_flight(1)
    busy.append(asyncio.create_task(setup.limits.take("both", "x")))
    await setup.store.until_in_flight(2)
    waiting = asyncio.create_task(setup.limits.take("ten", "ada"))
    await ticks()

    setup.limits.replace_policies({"ten": parse_policy("ten", "20/minute")})
    setup.clock.advance(1)
    setup.store.release()
    await asyncio.gather(*busy)

    assert not (await waiting).allowed
    assert (await setup.limits.take("ten", "ada")).allowed


async def test_a_refusal_in_flight_while_units_came_back_is_not_cached(setup: Setup) -> None:
    """A refusal whose call was sent before an announcement may be older than the units that came back."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_in_flight(1)
    (call,) = setup.store.calls[-1:]

    setup.limits.refusals.on_cleared(f"1800000000000 {call.keys[0]}".encode())
    setup.clock.advance(5)
    setup.store.release()
    await task
    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]
    await setup.limits.take("ten", "ada")
    assert setup.store.sizes == [1, 1, 1]


async def test_without_announcements_a_refusal_is_cached_for_a_second(world: StoreWorld) -> None:
    """While the channel is not subscribed, a refusal is repeated for a second at most."""
    setup = Setup(world, TEN, refusals_max=100)
    await full(setup)
    setup.clock.advance(999)
    assert (await setup.limits.take("ten", "ada")).retry_after_ms == 74_001
    assert setup.store.calls == []

    setup.clock.advance(1)
    await setup.limits.take("ten", "ada")

    assert len(setup.store.calls) == 1


async def test_a_refusal_from_before_the_subscription_is_cached_for_a_second(world: StoreWorld) -> None:
    """Only a refusal whose call was sent after the subscription is repeated for as long as the store refuses."""
    setup = Setup(world, TEN, refusals_max=100)
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_in_flight(1)
    setup.clock.advance(1)
    setup.limits.refusals.on_subscribed()
    setup.store.release()
    await task

    setup.clock.advance(1_000)
    await setup.limits.take("ten", "ada")
    setup.clock.advance(30_000)
    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]


async def test_a_gap_in_the_announcements_clears_the_cache(setup: Setup) -> None:
    """When the connection was lost everything is evicted: units may have come back unnoticed."""
    await full(setup)

    setup.limits.refusals.on_gap()
    setup.clock.advance(1)

    await setup.limits.take("ten", "ada")
    setup.clock.advance(1_000)
    await setup.limits.take("ten", "ada")
    assert len(setup.store.calls) == 2


async def test_the_cache_is_bounded(world: StoreWorld) -> None:
    """Beyond the bound of keys those that were refused first are evicted."""
    setup = Setup(world, TEN, refusals_max=2)
    setup.limits.refusals.on_subscribed()
    setup.clock.advance(1)
    for key in ("ada", "bob", "eve"):
        await full(setup, key=key)

    for key in ("eve", "bob", "ada"):
        await setup.limits.take("ten", key)

    assert len(setup.store.calls) == 1


async def test_recent_clearings_are_bounded(setup: Setup) -> None:
    """After very many announcements an older call counts as sent before one of them, whatever its subject."""
    await setup.limits.take("ten", "ada", 10)
    setup.store.hold()
    task = asyncio.create_task(setup.limits.take("ten", "ada"))
    await setup.store.until_in_flight(1)
    setup.clock.advance(1)
    for i in range(5_000):
        setup.limits.refusals.on_cleared(f"1800000000000 tollhouse:rate:{{{i}}}:ten".encode())
    setup.store.release()
    await task

    await setup.limits.take("ten", "ada")

    assert setup.store.sizes == [1, 1, 1]


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"1 ", b"1 \xff\xfe", b"1 " + b"x" * 10_000])
async def test_other_messages_are_ignored(setup: Setup, payload: bytes) -> None:
    """A message that no script of ours publishes evicts nothing."""
    await full(setup)

    setup.limits.refusals.on_cleared(payload)
    await setup.limits.take("ten", "ada")

    assert setup.store.calls == []


async def test_of_takes_decided_together_only_those_that_refuse_are_cached(setup: Setup) -> None:
    """A key whose own limits would admit is not refused because another take of its `take_all` was."""
    await setup.limits.take("ten", "ada", 10)

    together = await setup.limits.take_all([Take(policy="ten", key="ada"), Take(policy="both", key="bob")])
    setup.store.calls.clear()
    alone = [await setup.limits.take("ten", "ada"), await setup.limits.take("both", "bob")]

    assert not together.allowed
    assert [one.allowed for one in alone] == [False, True]
    assert setup.store.sizes == [1]


async def test_a_take_all_is_always_sent(setup: Setup) -> None:
    """P3: a cached refusal of one member does not say how long the whole waits, so the store decides."""
    await setup.limits.take("both", "ada", 5)
    await full(setup)

    together = await setup.limits.take_all([Take(policy="ten", key="ada"), Take(policy="both", key="ada", cost=5)])

    assert together.retry_after_ms == 75_000
    assert setup.store.scripts == ["limits/take_all"]


async def test_the_refusal_of_takes_together_is_cached_for_their_caller(setup: Setup) -> None:
    """Of the members that the cache refuses, the one that waits longest answers; nothing is sent, and it is counted."""
    takes = [Take(policy=policy, key="ada", cost=cost) for policy, cost in (("hundred", 1), ("ten", 1), ("both", 3))]
    await setup.limits.take("ten", "ada", 10)
    await setup.limits.take("both", "ada", 5)
    assert setup.limits.cached_refusal(takes) is None
    await setup.limits.take_all(takes)
    setup.store.calls.clear()

    await setup.pass_ms(1_000)
    refusal = setup.limits.cached_refusal(takes)

    assert refusal is not None
    assert (refusal.policy, refusal.reason, refusal.retry_after_ms) == ("ten", "limit-reached", 74_000)
    assert (setup.store.calls, setup.counted("ten", "refused")) == ([], 2)
    await setup.pass_ms(74_000)
    assert setup.limits.cached_refusal(takes) is None
    assert (await setup.limits.take_all(takes)).allowed


async def test_the_cached_refusal_of_equal_takes_is_that_of_their_sum(setup: Setup) -> None:
    """P3: equal takes wait as long as one of their sum, and a single one may pass."""
    one = Take(policy="ten", key="ada", cost=3)
    await setup.limits.take("ten", "ada", 5)
    await setup.limits.take_all([one, one])

    refusal = setup.limits.cached_refusal([one, one])

    assert refusal is not None
    assert refusal.cost == 6
    assert setup.limits.cached_refusal([one]) is None


async def test_takes_that_a_shadow_has_to_count_have_no_cached_refusal(setup: Setup) -> None:
    """If any member has a shadow, each `take_all` is sent: the counts of the shadow would be wrong otherwise."""
    await full(setup)

    assert setup.limits.cached_refusal([Take(policy="ten", key="ada")]) is not None
    assert setup.limits.cached_refusal([Take(policy="ten", key="ada"), Take(policy="tried", key="ada")]) is None


async def test_other_verbs_use_the_cache(setup: Setup) -> None:
    """The cache refuses `take_up_to` like a take of one unit, and `reserve` like a take of the estimate."""
    await full(setup)

    up_to, reservation = await setup.limits.take_up_to("ten", "ada", 5), await setup.limits.reserve("ten", "ada", 1)

    assert (up_to.allowed, up_to.cost, up_to.retry_after_ms) == (False, 0, 75_000)
    assert (reservation.decision.allowed, reservation.id) == (False, None)
    assert setup.store.calls == []


class Process:
    """A limiter with connections of its own that is subscribed to the announcements."""

    def __init__(self, world: StoreWorld) -> None:
        self.stores = world.open_stores()
        self.setup = Setup(world, TEN, store=self.stores.limits, refusals_max=100)
        self.limits = self.setup.limits
        self.subscribed = asyncio.Event()
        self.cleared = asyncio.Event()
        self.stores.limits.listen(
            UNNAMED.rate_clearings, self._on_message, self.limits.refusals.on_gap, self._on_subscribed
        )

    async def open(self) -> None:
        await self.limits.peek("ten", "unknown")
        async with asyncio.timeout(PATIENCE_S):
            await self.subscribed.wait()
        self.setup.clock.advance(1)

    def _on_subscribed(self) -> None:
        self.limits.refusals.on_subscribed()
        self.subscribed.set()

    def _on_message(self, payload: bytes) -> None:
        self.limits.refusals.on_cleared(payload)
        self.cleared.set()


@pytest.fixture
async def here_and_there(world: StoreWorld) -> tuple[Process, Process]:
    """Two processes on one store."""
    processes = Process(world), Process(world)
    for process in processes:
        await process.open()
    return processes


@pytest.mark.parametrize("how", ["refund", "reset", "settle"])
async def test_other_processes_learn_that_units_came_back(here_and_there: tuple[Process, Process], how: str) -> None:
    """Units that another process gives back evict the refusal here as soon as they are announced."""
    here, there = here_and_there
    takes = [Take(policy="ten", key="ada")]
    reservation = await there.limits.reserve("ten", "ada", 5)
    assert reservation.id is not None
    await full(here.setup, cost=5)
    here.setup.clock.advance(2_000)
    assert not (await here.limits.take("ten", "ada")).allowed
    assert here.limits.cached_refusal(takes) is not None
    assert here.setup.store.calls == []

    match how:
        case "refund":
            await there.limits.refund("ten", "ada", 1)
        case "reset":
            await there.limits.reset("ten", "ada")
        case _:
            await there.limits.settle("ten", "ada", reservation.id, 1)
    async with asyncio.timeout(PATIENCE_S):
        await here.cleared.wait()

    assert here.limits.cached_refusal(takes) is None
    assert (await here.limits.take("ten", "ada")).allowed
