"""The scripts of limits against their pure twins: equal answers, and equal counts in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from tests import twins
from tests.histories import moves, policies
from tests.worlds import START_MS, StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.algorithms import evaluate, quota
from tollhouse.limits.algorithms import take_all as joint
from tollhouse.limits.algorithms.counters import Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import Verdict
from tollhouse.limits.policy.policy import UNITS_MAX, Policy

KEYS = ("tollhouse:rate:{a}:api", "tollhouse:rate:{b}:api")
HOLDS = ("h-1", "h_2")

_SOON_MS = 500
"""A value may live no shorter than this, so that it does not end in real time between two steps."""


class Takes(Struct, frozen=True, kw_only=True):
    """Look at the first subject, then take from each in turn: in one call, each on its own."""

    takes: list[tuple[str, int]]


class TakeAll(Struct, frozen=True, kw_only=True):
    costs: tuple[int, int]


class TakeUpTo(Struct, frozen=True, kw_only=True):
    key: str
    most: int


class Refund(Struct, frozen=True, kw_only=True):
    key: str
    units: int
    age_ms: int


class Reserve(Struct, frozen=True, kw_only=True):
    key: str
    name: str
    units: int
    held_ms: int


class Settle(Struct, frozen=True, kw_only=True):
    key: str
    name: str
    actual: int


class LeaseQuota(Struct, frozen=True, kw_only=True):
    """Give units of a moment back, then take, and lease more; with other algorithms than the default just take."""

    key: str
    cost: int
    per_second: int
    terms: quota.Terms
    left: int
    age_ms: int


class ChangeLimits(Struct, frozen=True, kw_only=True):
    """Change the units of every limit of a subject's policy, as new settings do; then take one unit."""

    key: str
    percent: int


Counted = Takes | TakeAll | TakeUpTo | Refund | Reserve | Settle
Call = Counted | LeaseQuota
History = tuple[dict[str, Policy], list[tuple[int, Call | ChangeLimits]]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A policy for each of two subjects, and calls and changes with moves of the clock before them."""
    units_max = draw(st.sampled_from([40, UNITS_MAX]))
    by_key = {key: draw(policies(units_max=units_max)) for key in KEYS}
    capacities = [limit.capacity for policy in by_key.values() for limit in policy.limits]
    least, most = min(capacities), min(max(capacities) + 1, UNITS_MAX)
    units = st.integers(0, 9) | st.integers(1, least) | st.integers(0, most)
    key, name = st.sampled_from(KEYS), st.sampled_from(HOLDS)
    held_ms = st.sampled_from([1, 1_000, 60_000, 86_400_000]) | st.integers(1, 1_000_000)
    calls: st.SearchStrategy[Call | ChangeLimits] = st.one_of(
        st.builds(Takes, takes=st.lists(st.tuples(key, units), min_size=1, max_size=6)),
        st.builds(TakeAll, costs=st.tuples(units, units)),
        st.builds(TakeUpTo, key=key, most=units),
        st.builds(Refund, key=key, units=units, age_ms=st.just(0) | st.one_of(*map(moves, by_key.values())).map(abs)),
        st.builds(Reserve, key=key, name=name, units=units, held_ms=held_ms),
        st.builds(Reserve, key=key, name=name, units=st.integers(0, 3), held_ms=st.just(3_600_000)),
        st.builds(Settle, key=key, name=name, actual=units),
        st.builds(Settle, key=key, name=name, actual=st.integers(0, 3)),
        st.builds(
            LeaseQuota,
            key=key,
            cost=units,
            per_second=st.just(UNITS_MAX) | units,
            terms=st.builds(
                quota.Terms,
                longest_ms=st.sampled_from([1_000, 86_400_000]),
                parts=st.integers(1, 8),
                least=st.integers(1, 4),
            ),
            left=st.just(0) | units,
            age_ms=st.just(0) | st.one_of(*map(moves, by_key.values())),
        ),
        st.builds(ChangeLimits, key=key, percent=st.sampled_from([1, 10, 50, 300])),
    )
    moved = st.one_of(*(moves(policy) for policy in by_key.values()))
    moved = st.just(0) | st.integers(-1_000, 1_000) | moved
    return by_key, draw(st.lists(st.tuples(moved, calls), min_size=1, max_size=20))


@given(history=histories())
async def test_the_scripts_decide_as_their_twins(embedded: StoreWorld, history: History) -> None:
    """C-6: over any history of calls, changes and moves of the clock, scripts and twins agree in every number."""
    await _agree(embedded, history)


@pytest.mark.fake
@settings(max_examples=settings.default.max_examples // 5)
@given(history=histories())
async def test_on_fakeredis_the_scripts_decide_alike(fake: StoreWorld, history: History) -> None:
    """C-6: so they do on fakeredis, which repeats what the real server is asked."""
    await _agree(fake, history)


async def _agree(world: StoreWorld, history: History) -> None:
    by_key, calls = history
    states = dict.fromkeys(KEYS, SubjectState())
    await world.clear()
    world.step_back(world.now_ms - START_MS)

    for move_ms, call in calls:
        await _move(world, move_ms)
        if isinstance(call, ChangeLimits):
            by_key[call.key] = _changed(by_key[call.key], call.percent)
        made = _made(call, by_key)
        await _end_what_is_near_its_end(world, states)
        before = dict(states)
        reply = await _run(world, made, by_key)
        if isinstance(made, LeaseQuota):
            expected = _lease(made, by_key, states, world.now_ms)
        else:
            expected = _decide(made, by_key, states, world.now_ms)
        assert reply == expected
        await _assert_stored(world, by_key, before, states)
        if isinstance(made, Takes):
            await _assert_refusals_last(world, by_key, made.takes, expected[1:])


def _made(call: Call | ChangeLimits, by_key: Mapping[str, Policy]) -> Call:
    """Return the call to make: a lease of another algorithm than the default is a take, and so is a change."""
    if isinstance(call, ChangeLimits):
        return Takes(takes=[(call.key, 1)])
    if isinstance(call, LeaseQuota) and by_key[call.key].algorithm != "sliding-window":
        return Takes(takes=[(call.key, call.cost)])
    return call


async def _run(world: StoreWorld, call: Call, by_key: Mapping[str, Policy]) -> Any:
    """Return the reply of the script as the values of its twin."""
    match call:
        case Takes(takes=takes):
            key, cost = takes[0]
            looked = await twins.ask(world, "limits/peek", key, by_key[key], cost)
            taken = await twins.take(world, [(key, by_key[key], cost) for key, cost in takes])
            asked = [by_key[key] for key, _ in takes]
            return twins.answer(looked, [by_key[key]]).verdicts + twins.answer(taken, asked).verdicts
        case TakeAll(costs=costs):
            takes = [(key, by_key[key], cost) for key, cost in zip(KEYS, costs, strict=True)]
            return twins.joint(await twins.take(world, takes, "limits/take_all"), [by_key[key] for key in KEYS])
        case TakeUpTo(key=key, most=most):
            return twins.counted(await twins.ask(world, "limits/take_up_to", key, by_key[key], most), by_key[key])
        case Refund(key=key, units=units, age_ms=age_ms):
            reply = await twins.ask(world, "limits/refund", key, by_key[key], units, "c", 0, age_ms)
            return twins.counted(reply, by_key[key])
        case Reserve(key=key, name=name, units=units, held_ms=held_ms):
            reply = await twins.ask(world, "limits/reserve", key, by_key[key], name, units, held_ms)
            return twins.answer(reply, [by_key[key]]).verdicts[0]
        case Settle(key=key, name=name, actual=actual):
            reply = await twins.ask(world, "limits/settle", key, by_key[key], name, actual, "c")
            return twins.counted(reply, by_key[key])
        case LeaseQuota(key=key):
            arguments = [*_terms(call), call.left, world.now_ms - call.age_ms, "c"]
            reply = await twins.ask(world, "limits/lease_quota", key, by_key[key], call.cost, *arguments)
            foreign, discarded, back, units, at_ms, lasts_ms, *decision = reply
            assert at_ms == world.now_ms
            return back, units, lasts_ms, twins.answer([foreign, discarded, *decision], [by_key[key]]).verdicts[0]


def _terms(call: LeaseQuota) -> list[int]:
    return [call.per_second, call.terms.longest_ms, call.terms.parts, call.terms.least]


def _decide(call: Counted, by_key: Mapping[str, Policy], states: dict[str, SubjectState], now_ms: int) -> Any:
    """Return the reply of the twin, and store the state that it leaves."""
    match call:
        case Takes(takes=takes):
            key, cost = takes[0]
            verdicts = [evaluate.peek(by_key[key], states[key], cost, now_ms)]
            for key, cost in takes:
                verdict, states[key] = evaluate.take(by_key[key], states[key], cost, now_ms)
                verdicts.append(verdict)
            return tuple(verdicts)
        case TakeAll(costs=costs):
            parts = [
                joint.JointTake(policy=by_key[key], state=states[key], cost=cost)
                for key, cost in zip(KEYS, costs, strict=True)
            ]
            decided, after = joint.take_all(parts, now_ms)
            states.update(zip(KEYS, after, strict=True))
            return decided
        case TakeUpTo(key=key, most=most):
            granted, verdict, states[key] = evaluate.take_up_to(by_key[key], states[key], most, now_ms)
            return granted, verdict
        case Refund(key=key, units=units, age_ms=age_ms):
            refunded, states[key] = evaluate.refund(by_key[key], states[key], units, now_ms, age_ms)
            return refunded, evaluate.limit_statuses(by_key[key], states[key], now_ms)
        case Reserve(key=key, name=name, units=units, held_ms=held_ms):
            hold = Hold(name=name, units=units, made_ms=now_ms, held_ms=held_ms)
            verdict, states[key] = evaluate.reserve(by_key[key], states[key], hold, now_ms)
            return verdict
        case Settle(key=key, name=name, actual=actual):
            settled, states[key] = evaluate.settle(by_key[key], states[key], name, actual, now_ms)
            return int(settled), evaluate.limit_statuses(by_key[key], states[key], now_ms)


def _lease(call: LeaseQuota, by_key: Mapping[str, Policy], states: dict[str, SubjectState], now_ms: int) -> Any:
    """Return what `_decide` does, of a lease."""
    leased, states[call.key] = quota.lease_quota(
        by_key[call.key],
        states[call.key],
        call.cost,
        now_ms,
        per_second=call.per_second,
        terms=call.terms,
        left=call.left,
        charged_ms=now_ms - call.age_ms,
    )
    return leased.back, leased.units, leased.lasts_ms, leased.verdict


def _changed(policy: Policy, percent: int) -> Policy:
    """Return a policy with other units of the same windows; the policy itself if no policy may have them."""
    try:
        limits = tuple(replace(one, units=max(one.units * percent // 100, 1)) for one in policy.limits)
        return replace(policy, limits=limits)
    except InvalidInput:
        return policy


async def _assert_refusals_last(
    world: StoreWorld, by_key: Mapping[str, Policy], takes: Sequence[tuple[str, int]], verdicts: Sequence[Verdict]
) -> None:
    """What refuses under gcra is stored until then, also after a lower limit has made the wait longer."""
    for (key, _), verdict in zip(takes, verdicts, strict=True):
        if verdict.retry_after_ms and by_key[key].algorithm == "gcra":
            left_ms = await world.command("limits", "PTTL", key)
            assert left_ms >= verdict.retry_after_ms - world.real_elapsed_ms


async def _move(world: StoreWorld, ms: int) -> None:
    if ms < 0:
        world.step_back(-ms)
        for key in KEYS:  # a server keeps the moment at which a value ends, which its clock now reaches later
            left_ms = await world.command("limits", "PTTL", key)
            await world.command("limits", "PEXPIRE", key, left_ms - ms)
    else:
        await world.advance(ms)


async def _end_what_is_near_its_end(world: StoreWorld, states: dict[str, SubjectState]) -> None:
    """Forget values that are gone, and those that real time could end before the next step."""
    for key in KEYS:
        if await world.command("limits", "PTTL", key) < _SOON_MS:
            await world.command("limits", "DEL", key)
            states[key] = SubjectState()


async def _assert_stored(
    world: StoreWorld,
    by_key: Mapping[str, Policy],
    before: Mapping[str, SubjectState],
    after: Mapping[str, SubjectState],
) -> None:
    for key, state in after.items():
        value = await world.command("limits", "GET", key)
        if state == SubjectState():
            assert value is None
            continue
        assert value is not None
        assert twins.read_state(value.decode(), world.now_ms) == twins.with_slots(state)
        if state is not before[key]:
            lifetime_ms = evaluate.lifetime_ms(by_key[key], state, world.now_ms)
            left_ms = await world.command("limits", "PTTL", key)
            assert lifetime_ms - world.real_elapsed_ms - 1 <= left_ms <= lifetime_ms
