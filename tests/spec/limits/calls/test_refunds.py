"""Refunds that no caller waits for: what is given back, how often it is announced, and what is lost in an outage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from tests.watched import Setup, WatchedStore, ticks
from tests.worlds import StoreWorld
from tollhouse.errors import StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.limits.calls.calls import calls_on
from tollhouse.limits.calls.refunds import Refunds
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.wire.compiled_policy import compile_policies
from tollhouse.limits.wire.request import RequestReader, TakeRequest
from tollhouse.scripts import Argument

POLICIES = (
    parse_policy("api", "10/minute"),
    parse_policy("two", "2/minute"),
    parse_policy("listed", "10/minute", allow=("ada",)),
    parse_policy("tried", "10/minute"),
    parse_policy("candidate", "10/minute", shadow=True, shadow_of="tried"),
    parse_policy("jobs", "2/minute", "concurrency"),
)


@pytest.fixture
def setup(world: StoreWorld) -> Setup:
    return Setup(world, *POLICIES)


async def ended(task: asyncio.Task[None] | None) -> None:
    """Wait for a refund that was sent."""
    assert task is not None
    await task


async def left(setup: Setup, policy: str) -> int:
    return (await setup.limits.peek(policy, "ada")).limits[0].remaining


@pytest.mark.parametrize("verb", ["start_refund", "start_undo"])
async def test_what_a_take_charged_comes_back(setup: Setup, verb: str) -> None:
    """The units of a decision come back, from the shadows of its policy too."""
    taken = await setup.limits.take("tried", "ada", 3)

    await ended(getattr(setup.limits, verb)(taken))

    assert (await left(setup, "tried"), await left(setup, "candidate")) == (10, 10)


@pytest.mark.parametrize("verb", ["start_refund", "start_undo"])
async def test_what_this_process_counted_comes_back_at_once(setup: Setup, verb: str) -> None:
    """During an outage the units come back to the share of this process, and no call is sent."""
    setup.store.fail()
    taken = await setup.limits.take("two", "ada", 2)
    setup.store.calls.clear()

    assert getattr(setup.limits, verb)(taken) is None

    assert setup.store.calls == []
    assert (await setup.limits.take("two", "ada", 2)).allowed


@pytest.mark.parametrize("verb", ["start_refund", "start_undo"])
async def test_what_no_store_counted_is_not_refunded(setup: Setup, verb: str) -> None:
    """A listed key, a take of nothing, a lease and a policy that is gone have nothing to come back."""
    limits = setup.limits
    decisions = [
        await limits.take("listed", "ada"),
        await limits.take("api", "ada", 0),
        await limits.take("two", "ada"),
    ]
    async with limits.hold("jobs", "ada") as lease:
        decisions.append(lease.decision)
    limits.replace_policies({name: policy for name, policy in limits.policies.items() if name != "two"})
    setup.store.calls.clear()

    assert [getattr(limits, verb)(decision) for decision in decisions] == [None] * 4
    assert setup.store.calls == []


async def test_of_many_undone_takes_the_first_goes_at_once_and_the_rest_together(setup: Setup) -> None:
    """A limit that a take leaves without room is refunded at once, and then once for all that follow."""
    first, second = [await setup.limits.take("two", "ada") for _ in range(2)]
    setup.store.calls.clear()

    started = [setup.limits.start_undo(taken) for taken in (second, first, second)]
    assert started[0] is not None
    assert started[2] is None
    await setup.limits.aclose()

    assert [(call.script, call.args[0]) for call in setup.store.calls] == [("limits/refund", 1), ("limits/refund", 2)]
    assert await left(setup, "two") == 2


async def test_takes_that_are_undone_at_once_come_back_together(setup: Setup) -> None:
    """While an undo of a key is in flight the others wait, and one refund has the units of all of them."""
    taken = [await setup.limits.take("api", "ada") for _ in range(4)]
    setup.store.calls.clear()

    started = [setup.limits.start_undo(decision) for decision in taken]
    await ended(started[0])
    await ticks()
    await setup.limits.aclose()

    assert started[1:] == [None] * 3
    assert [call.args[0] for call in setup.store.calls] == [1, 3]
    assert await left(setup, "api") == 10


class Subject:
    """One key of the store, and refunds with a pause of their own."""

    def __init__(self, setup: Setup, pause_s: float) -> None:
        clock, clearings = setup.clock.monotonic_ms, UNNAMED.rate_clearings
        self.calls = calls_on(setup.store, setup.world.metrics, refusals_max=0, clock=clock, clearings=clearings)
        self.refunds = Refunds(self.calls, pause_s=pause_s, refund_s=0.05)
        self.request: TakeRequest = RequestReader(
            compile_policies({one.name: one for one in POLICIES}, 1), setup.world.keyring, UNNAMED
        ).read("two", "ada")


async def test_what_waits_is_sent_when_the_pause_is_over(setup: Setup) -> None:
    """After the pause of a key what has waited comes back in one refund; then the key waits again, or is forgotten."""
    subject = Subject(setup, pause_s=0)
    used_up = [await setup.limits.take("two", "ada") for _ in range(2)][1]
    setup.store.calls.clear()

    assert subject.refunds.start_undo(subject.request, used_up) is not None
    assert [subject.refunds.start_undo(subject.request, used_up) for _ in range(2)] == [None, None]
    await ticks()
    await subject.refunds.aclose()

    assert [call.args[0] for call in setup.store.calls] == [1, 2]
    assert subject.refunds.start_undo(subject.request, used_up) is not None
    await subject.refunds.aclose()


async def test_the_keys_that_wait_are_bounded(setup: Setup) -> None:
    """Beyond the bound of keys an undo is sent at once."""
    subject = Subject(setup, pause_s=60)
    used_up = [await setup.limits.take("two", "ada") for _ in range(2)][1]
    subject.refunds = Refunds(subject.calls, pause_s=60, waiting_max=0)

    assert all(subject.refunds.start_undo(subject.request, used_up) is not None for _ in range(2))
    await subject.refunds.aclose()

    assert await left(setup, "two") == 2


async def test_a_refund_that_gets_no_reply_is_lost_in_time(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is down, or silent, loses the refund within its bound; the log says which policy, and no key."""
    subject = Subject(setup, pause_s=0)
    taken = await setup.limits.take("two", "ada")
    setup.store.fail()
    with caplog.at_level(logging.WARNING, "tollhouse.limits"):
        await ended(subject.refunds.start(subject.request, taken))
        setup.store.heal()
        setup.store.hold()
        await ended(subject.refunds.start(subject.request, taken))
    setup.store.release()

    assert [vars(record)["event"] for record in caplog.records] == ["refund lost"] * 2
    assert {vars(record)["policy"] for record in caplog.records} == {"two"}
    assert "ada" not in str([vars(record) for record in caplog.records])


SLOW = (
    parse_policy("slow", "2/minute; 9/hour"),
    parse_policy("wide", "9/minute; 9/hour"),
    parse_policy("fixed", "2/minute", "fixed-window"),
)


@pytest.mark.parametrize("verb", ["start_refund", "start_undo", "undo"])
async def test_a_window_that_has_released_the_units_gets_none_back(world: StoreWorld, verb: str) -> None:
    """P1: a refund that comes late frees no units of the requests that were served meanwhile."""
    setup = Setup(world, *SLOW)
    taken = await setup.limits.take("slow", "ada", 2)
    await setup.pass_ms(90_000)
    await setup.limits.take("slow", "ada", 2)

    await getattr(setup.limits, verb)(taken, age_ms=90_000)

    short, long = (await setup.limits.peek("slow", "ada")).limits
    assert (short.remaining, long.remaining) == (0, 7)


async def test_a_fixed_window_gets_nothing_of_the_one_before_back(world: StoreWorld) -> None:
    """P1: of a take just before a boundary nothing comes back behind it."""
    setup = Setup(world, *SLOW)
    await setup.pass_ms(59_999)
    taken = await setup.limits.take("fixed", "ada", 2)
    await setup.pass_ms(1)
    await setup.limits.take("fixed", "ada", 2)

    await setup.limits.undo(taken, age_ms=1)

    assert await left(setup, "fixed") == 0


async def test_a_late_undo_makes_no_others_late(world: StoreWorld) -> None:
    """What waits for another undo of its key is given back, also if one comes beside it that is too old."""
    setup = Setup(world, *SLOW)
    taken = [await setup.limits.take("wide", "ada") for _ in range(3)]

    for decision, age_ms in zip(taken, (0, 90_000, 0), strict=True):
        setup.limits.start_undo(decision, age_ms=age_ms)
    await setup.limits.aclose()

    short, long = (await setup.limits.peek("wide", "ada")).limits
    assert (short.remaining, long.remaining) == (8, 9)


async def test_a_late_refund_of_this_process_frees_nothing_of_others(world: StoreWorld) -> None:
    """P1: during an outage too a window that has released the units gets none back."""
    setup = Setup(world, parse_policy("api", "2/minute"))
    setup.store.fail()
    taken = await setup.limits.take("api", "ada", 2)
    await setup.pass_ms(90_000)
    await setup.limits.take("api", "ada", 2)

    await setup.limits.undo(taken, age_ms=90_000)

    assert not (await setup.limits.take("api", "ada", 1)).allowed


async def test_a_refund_after_a_reload_frees_nothing_of_other_windows(world: StoreWorld) -> None:
    """P1: what was taken before a reload gave the policy another window does not come back to that window."""
    setup = Setup(world, parse_policy("api", "2/minute"))
    taken = await setup.limits.take("api", "ada", 2)
    setup.limits.replace_policies({"api": parse_policy("api", "2/hour")})
    await setup.limits.take("api", "ada", 2)

    await setup.limits.undo(taken)

    assert await left(setup, "api") == 0


class SecondFails(WatchedStore):
    """A store whose second refund finds no server."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        if self.scripts.count("limits/refund") == 1:
            self.fail()
        return await super().run(script, keys, args)


async def test_a_refund_that_reached_the_policy_but_not_its_shadow_is_ambiguous(world: StoreWorld) -> None:
    """A caller that repeated it because nothing was sent would give the policy's units back twice."""
    setup = Setup(world, *POLICIES)
    setup.limits = Limiter(
        SecondFails(world.stores.limits), {p.name: p for p in POLICIES}, world.keyring, world.metrics
    )
    await setup.limits.take("tried", "ada", 3)

    with pytest.raises(StoreUnavailable) as raised:
        await setup.limits.refund("tried", "ada", 3)

    assert raised.value.outcome == "ambiguous"
