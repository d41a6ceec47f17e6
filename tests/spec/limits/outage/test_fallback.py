"""Limits while the store does not answer (P8): what each policy's outage rule decides."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.clocks import Clock
from tests.leases import under
from tests.watched import Setup
from tests.worlds import StoreWorld
from tollhouse.errors import Outcome, ScriptFailed, StoreUnavailable
from tollhouse.limits.decision import Decision, LimitState, Take
from tollhouse.limits.outage.fallback import RETRY_AFTER_MS
from tollhouse.limits.outage.local_limiter import LocalLimiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy

LOCAL = parse_policy("local", "10/minute; 100/hour")
OPEN = parse_policy("open", "10/minute", on_outage="open")
CLOSED = parse_policy("closed", "10/minute; 5/hour", on_outage="closed")
SHADOWS = tuple(
    parse_policy(f"shadow-{rule}", "10/minute", shadow=True, on_outage=rule) for rule in ("local", "closed")
)
LISTED = parse_policy("listed", "10/minute", on_outage="closed", allow=("friend",), deny=("foe",))
BURST = Policy(name="burst", limits=(Limit(units=10, window_ms=60_000, burst=40),), algorithm="gcra")
POLICIES = (LOCAL, OPEN, CLOSED, *SHADOWS, LISTED, BURST)


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    """One of four processes, whose store is down."""
    setup = Setup(world, *POLICIES, instances=4)
    setup.store.fail()
    return setup


async def test_local_counts_this_processs_share(setup: Setup) -> None:
    """`local` admits the limit divided by the number of processes, by the same rules, and says that it did."""
    decisions = [await setup.limits.take("local", "ada") for _ in range(3)]

    assert [(one.allowed, one.degraded) for one in decisions] == [(True, True), (True, True), (False, True)]
    assert decisions[-1] == Decision(
        allowed=False,
        policy="local",
        key="ada",
        cost=1,
        limits=(
            LimitState(limit=2, window_ms=60_000, remaining=0, reset_after_ms=63_750),
            LimitState(limit=25, window_ms=3_600_000, remaining=23, reset_after_ms=3_825_000),
        ),
        retry_after_ms=63_750,
        refused_by="10/minute",
        degraded=True,
        reason="limit-reached",
    )
    assert (await setup.limits.take("local", "bob")).allowed
    setup.clock.advance(63_750)
    assert (await setup.limits.take("local", "ada")).allowed


async def test_every_process_may_admit_something(world: StoreWorld) -> None:
    """A share is at least one unit, and a burst is divided as well."""
    setup = Setup(world, parse_policy("api", "3/minute"), BURST, instances=8)
    setup.store.fail()

    api = [(await setup.limits.take("api", "ada")).allowed for _ in range(2)]
    burst = [(await setup.limits.take("burst", "ada")).allowed for _ in range(6)]

    assert api == [True, False]
    assert burst == [True] * 5 + [False]


async def test_open_admits_and_closed_refuses(setup: Setup) -> None:
    """`open` admits everything, `closed` nothing, for a second at a time; the decisions have no limits."""
    opened = [await setup.limits.take("open", "ada", 10) for _ in range(3)][-1]
    closed = await setup.limits.take("closed", "ada")

    assert (opened.allowed, opened.retry_after_ms) == (True, None)
    assert (closed.allowed, closed.retry_after_ms, closed.refused_by) == (False, RETRY_AFTER_MS, None)
    for decision in (opened, closed):
        assert (decision.limits, decision.reason, decision.degraded) == ((), "outage", True)


@pytest.mark.parametrize("policy", ["local", "open", "closed", "burst"])
async def test_a_cost_above_the_limit_is_refused_by_every_rule(setup: Setup, policy: str) -> None:
    """A cost that can never pass does not pass in an outage either, and the refusal states no wait."""
    decision = await setup.limits.take(policy, "ada", 41)

    assert (decision.allowed, decision.retry_after_ms, decision.reason) == (False, None, "cost-above-limit")
    assert decision.refused_by is not None
    assert decision.degraded


async def test_the_first_limit_that_a_cost_is_above_is_named(setup: Setup) -> None:
    """As in the store, the refusal names the limit that the cost is above."""
    assert (await setup.limits.take("closed", "ada", 6)).refused_by == "5/hour"


async def test_a_cost_above_the_share_alone_is_refused_for_now(setup: Setup) -> None:
    """A take within the limit but above the share of one process is refused because of the outage."""
    decision = await setup.limits.take("local", "ada", 3)

    assert (decision.allowed, decision.reason, decision.retry_after_ms) == (False, "outage", RETRY_AFTER_MS)


@pytest.mark.parametrize("policy", ["shadow-local", "shadow-closed"])
async def test_a_shadow_refuses_nothing(setup: Setup, policy: str) -> None:
    """In an outage too, a shadow admits everything and states what it would have decided."""
    decisions = [await setup.limits.take(policy, "ada", cost) for cost in (2, 2, 3, 11)]

    assert [one.allowed for one in decisions] == [True] * 4
    assert [one.reason for one in decisions[1:]] == ["shadow"] * 3
    assert [one.retry_after_ms for one in decisions] == [None] * 4
    assert all(one.degraded for one in decisions)
    assert setup.counted(policy, "degraded-shadow-refused") >= 3


async def test_lists_hold_in_an_outage(setup: Setup) -> None:
    """A key on an access list needs no store, and is decided as always."""
    friend, foe, other = [await setup.limits.take("listed", key) for key in ("friend", "foe", "other")]

    assert (friend.allowed, friend.reason, friend.degraded) == (True, "allow-listed", False)
    assert (foe.allowed, foe.reason, foe.degraded) == (False, "deny-listed", False)
    assert (other.allowed, other.reason, other.degraded) == (False, "outage", True)
    assert setup.store.sizes == [1]


async def test_take_up_to_follows_the_rule(setup: Setup) -> None:
    """`take_up_to` grants what the share holds, everything, or nothing."""
    shared = [await setup.limits.take_up_to("local", "ada", most) for most in (1, 5, 5)]
    opened, closed = [await setup.limits.take_up_to(policy, "ada", 50) for policy in ("open", "closed")]

    assert [(one.allowed, one.cost) for one in shared] == [(True, 1), (True, 1), (False, 0)]
    assert [(one.allowed, one.cost) for one in (opened, closed)] == [(True, 50), (False, 0)]
    assert (closed.reason, closed.retry_after_ms) == ("outage", RETRY_AFTER_MS)


async def test_takes_together_follow_the_strictest_rule(setup: Setup) -> None:
    """A closed policy refuses all, else the shares decide; a refusal charges none of them."""

    async def together(*takes: tuple[str, int]) -> tuple[bool, int | None, list[str]]:
        found = await setup.limits.take_all([Take(policy=policy, key="ada", cost=cost) for policy, cost in takes])
        return found.allowed, found.retry_after_ms, [one.reason for one in found.decisions]

    assert await together(("local", 2), ("closed", 1)) == (False, RETRY_AFTER_MS, ["all-or-nothing", "outage"])
    assert await together(("local", 2), ("open", 11)) == (False, None, ["all-or-nothing", "cost-above-limit"])
    assert await together(("local", 2), ("burst", 11)) == (False, RETRY_AFTER_MS, ["all-or-nothing", "outage"])
    assert await together(("local", 2), ("open", 9), ("shadow-local", 9)) == (
        True,
        None,
        ["within-limits", "outage", "shadow"],
    )
    assert await together(("burst", 1), ("local", 1)) == (False, 63_750, ["all-or-nothing", "limit-reached"])
    assert await together(
        ("burst", 10),
    ) == (True, None, ["within-limits"])


async def test_reservations_of_an_outage_are_settled_in_the_process(setup: Setup) -> None:
    """Their ids say so; the actual units are charged once, and the store learns nothing of it."""
    held = await setup.limits.reserve("local", "ada", 2)
    full = await setup.limits.reserve("local", "ada", 1)
    assert held.id is not None
    assert held.id.startswith("local-")
    assert (held.decision.allowed, held.decision.degraded) == (True, True)
    assert (full.decision.allowed, full.id) == (False, None)

    settled = [await setup.limits.settle("local", "ada", held.id, 1) for _ in range(2)]

    assert [one.settled for one in settled] == [True, False]
    assert [one.decision.limits[0].remaining for one in settled] == [1, 1]
    assert (await setup.limits.take("local", "ada")).allowed
    assert "limits/settle" not in setup.store.scripts


async def test_a_reservation_of_an_outage_ends_by_itself(setup: Setup) -> None:
    """The units of a holder that crashes in an outage return after its hold time."""
    await setup.limits.reserve("local", "ada", 2, hold_ms=500)

    setup.clock.advance(500)

    assert (await setup.limits.take("local", "ada", 2)).allowed


async def test_reservations_are_bounded_in_an_outage(world: StoreWorld) -> None:
    """As on the server, one subject has at most 128 reservations at a time."""
    setup = Setup(world, parse_policy("api", "1000/minute"))
    setup.store.fail()
    for _ in range(128):
        assert (await setup.limits.reserve("api", "ada", 1, hold_ms=700)).id is not None

    beyond = await setup.limits.reserve("api", "ada", 1)

    assert (beyond.id, beyond.decision.allowed, beyond.decision.refused_by) == (None, False, None)
    assert (beyond.decision.retry_after_ms, beyond.decision.reason) == (700, "limit-reached")


async def test_reservations_follow_the_rule(setup: Setup) -> None:
    """`open` admits without holding anything, `closed` refuses, and a cost above the limit never fits."""
    opened, closed = [await setup.limits.reserve(policy, "ada", 2) for policy in ("open", "closed")]
    above = await setup.limits.reserve("local", "ada", 11)

    assert (opened.id, opened.decision.allowed) == (None, True)
    assert (closed.id, closed.decision.reason) == (None, "outage")
    assert (above.id, above.decision.reason) == (None, "cost-above-limit")


async def test_what_needs_the_store_says_so(setup: Setup) -> None:
    """A peek, a refund, a reset and the settlement of a shared reservation raise StoreUnavailable."""
    for call in (
        setup.limits.peek("local", "ada"),
        setup.limits.refund("local", "ada"),
        setup.limits.reset("local", "ada"),
        setup.limits.settle("local", "ada", "0" * 32, 1),
    ):
        with pytest.raises(StoreUnavailable):
            await call


async def test_every_answer_without_a_store_is_counted_as_such(setup: Setup) -> None:
    """Degraded decisions have outcomes of their own, each take one."""
    for _ in range(3):
        await setup.limits.take("local", "ada")
    await setup.limits.take_up_to("closed", "ada", 1)
    await setup.limits.reserve("open", "ada", 1)

    assert setup.counted("local", "degraded-allowed") == 2
    assert setup.counted("local", "degraded-refused") == 1
    assert setup.counted("closed", "degraded-refused") == 1
    assert setup.counted("open", "degraded-allowed") == 1


@pytest.mark.parametrize("outcome", ["not-sent", "rejected", "ambiguous"])
async def test_whatever_failed_the_rule_decides_and_nothing_is_sent_twice(setup: Setup, outcome: Outcome) -> None:
    """A call whose reply was lost may have charged the store, so the take is decided here and never sent again."""
    setup.store.fail(outcome)

    decision = await setup.limits.take("local", "ada")
    setup.store.heal()

    assert decision.degraded
    assert setup.store.sizes == [1]
    looked = await setup.limits.take("local", "ada", 0)
    assert looked.limits[0].remaining == (9 if outcome == "ambiguous" else 10)


async def test_one_failure_is_no_outage(setup: Setup) -> None:
    """A single call that failed is decided by the rule, and the next one goes to the store."""
    await setup.limits.take("local", "ada", 2)
    setup.store.heal()

    assert not (await setup.limits.take("local", "ada")).degraded


async def test_a_store_that_is_back_decides_again(setup: Setup) -> None:
    """With the first reply the store decides again, and the local counters are dropped."""
    assert (await setup.limits.take("local", "bob", 2)).degraded
    setup.store.heal()

    taken = await setup.limits.take("local", "ada", 0)

    assert (taken.degraded, taken.limits[0].remaining) == (False, 10)
    assert await setup.world.command("limits", "DBSIZE") == 0
    setup.store.fail()
    assert (await setup.limits.take("local", "bob", 2)).allowed


async def test_reservations_end_with_the_outage(setup: Setup) -> None:
    """Reservations of this process are dropped when the store is back, and settling them changes nothing."""
    held = await setup.limits.reserve("local", "ada", 2)
    setup.store.heal()
    await setup.limits.take("local", "ada", 0)

    assert held.id is not None
    assert not (await setup.limits.settle("local", "ada", held.id, 2)).settled


async def test_a_defect_is_no_outage(setup: Setup) -> None:
    """ScriptFailed is raised, whatever the policy says about outages."""
    setup.store.failure = ScriptFailed("a defect")

    for policy in ("local", "open", "closed"):
        with pytest.raises(ScriptFailed):
            await setup.limits.take(policy, "ada")


async def test_local_counters_are_bounded(world: StoreWorld) -> None:
    """Beyond the bound of subjects those that were changed longest ago are evicted."""
    asked = {key: replace(under(world, LOCAL, key), cost=6) for key in ("ada", "bob", "eve")}
    local = LocalLimiter(clock=Clock().monotonic_ms, subjects_max=2)

    found = [local.take(asked[key]).allowed for key in ("ada", "bob", "ada", "eve", "bob", "ada")]

    assert found == [True, True, False, True, False, True]
