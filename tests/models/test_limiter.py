"""The scripts limits/take and limits/peek against their twin: equal answers, and equal counts in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tests.worlds import START_MS, StoreWorld
from tollhouse import keys
from tollhouse.limits import windows
from tollhouse.limits.decision import Decision, Take
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy import Limit, Policy
from tollhouse.limits.windows import Entry, State, Verdict

SUBJECTS = ("ada", "bob")

_SOON_MS = 1_000
_ENTRY = re.compile(r"(\d+)/(\d+)=(\d+),(\d+),(\d+)((?:,\d+:\d+)*);")


class Call(Struct, frozen=True):
    """Move the clock, then take from each subject in turn; `peek` asks beforehand."""

    move_ms: int
    subjects: tuple[str, ...]
    costs: tuple[int, ...]
    peek: bool


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Up to four windows, one of them at least a minute, so that no value ends in real time."""
    seconds = st.sampled_from([1, 7, 60, 61, 3_600]) | st.integers(1, 100_000)
    resolution = st.sampled_from([1, 2, 7, 16, 120]) | st.integers(1, 120)
    limit = st.builds(
        Limit,
        units=st.integers(1, 40),
        window_ms=seconds.map(lambda number: number * 1_000),
        resolution=resolution,
    )
    limits = draw(st.lists(limit, min_size=1, max_size=4, unique_by=lambda one: one.window_ms))
    if all(one.window_ms < 60_000 for one in limits):
        limits.append(Limit(units=draw(st.integers(1, 40)), window_ms=90_000, resolution=draw(resolution)))
    return Policy(name="api", limits=tuple(limits))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Policy, list[Call]]:
    """A policy, and calls whose moves lie around its sub-buckets and windows, or step back."""
    policy = draw(policies())
    one = draw(st.sampled_from(policy.limits))
    bucket_ms = one.window_ms // one.resolution
    moves = st.sampled_from([0, 0, 1, bucket_ms, bucket_ms + 1, 3 * bucket_ms, one.window_ms, 2 * one.window_ms])
    moves |= st.integers(0, 4 * bucket_ms) | st.integers(-150_000, -1) | st.integers(-bucket_ms, -1)
    subjects = st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=6).map(tuple)
    costs = st.lists(st.integers(0, 9) | st.integers(0, 41), min_size=6, max_size=6).map(tuple)
    calls = st.builds(Call, move_ms=moves, subjects=subjects, costs=costs, peek=st.booleans())
    return policy, draw(st.lists(calls, min_size=1, max_size=12))


@given(history=histories())
async def test_the_scripts_decide_as_their_twin(world: StoreWorld, history: tuple[Policy, list[Call]]) -> None:
    """C-6: over any history of takes and moves of the clock, script and pure rules agree in every number."""
    policy, calls = history
    limiter = Limiter(world.stores.limits, {"api": policy}, world.keyring, world.metrics)
    states: dict[str, State] = {}
    await world.clear()
    world.step_back(world.now_ms - START_MS)

    for call in calls:
        await _move(world, call.move_ms)
        await _end_what_is_near_its_end(world, states)
        if call.peek:
            decision = await limiter.peek("api", call.subjects[0], call.costs[0])
            state = states.get(call.subjects[0], {})
            _assert_equal(decision, windows.peek(policy.limits, state, call.costs[0], world.now_ms), policy)
        takes = [Take(policy="api", key=key, cost=cost) for key, cost in zip(call.subjects, call.costs, strict=False)]
        decisions = await limiter.take_batch(takes)
        written = set[str]()
        for take, decision in zip(takes, decisions, strict=True):
            before = states.get(take.key, {})
            verdict, after = windows.take(policy.limits, before, take.cost, world.now_ms)
            _assert_equal(decision, verdict, policy)
            if after is not before:
                states[take.key] = after
                written.add(take.key)
        await _assert_stored(world, policy.limits, states, written)


async def _move(world: StoreWorld, ms: int) -> None:
    if ms < 0:
        world.step_back(-ms)
    else:
        await world.advance(ms)


async def _end_what_is_near_its_end(world: StoreWorld, states: dict[str, State]) -> None:
    """Forget values that are gone, and those that real time could end before the next take."""
    for subject in SUBJECTS:
        if await world.command("limits", "PTTL", _key(world, subject)) < _SOON_MS:
            await world.command("limits", "DEL", _key(world, subject))
            states.pop(subject, None)


async def _value(world: StoreWorld, subject: str) -> bytes | None:
    return await world.command("limits", "GET", _key(world, subject))


def _key(world: StoreWorld, subject: str) -> str:
    return keys.rate(world.keyring.digest("rate", subject), "api")


def _assert_equal(decision: Decision, verdict: Verdict, policy: Policy) -> None:
    refused_by = None if verdict.refused_by is None else policy.limits[verdict.refused_by].text
    assert (decision.allowed, decision.refused_by) == (verdict.allowed, refused_by)
    assert decision.retry_after_ms == verdict.retry_after_ms
    assert [(one.remaining, one.reset_after_ms) for one in decision.limits] == [
        (one.remaining, one.reset_after_ms) for one in verdict.standings
    ]


async def _assert_stored(
    world: StoreWorld, limits: Sequence[Limit], states: Mapping[str, State], written: set[str]
) -> None:
    for subject, state in states.items():
        value = await _value(world, subject)
        assert value is not None
        assert _read(value.decode()) == {name: _shortened(entry) for name, entry in state.items()}
        if subject in written:
            lifetime_ms = windows.lifetime_ms(limits, state, world.now_ms)
            left_ms = await world.command("limits", "PTTL", _key(world, subject))
            assert lifetime_ms - world.real_elapsed_ms - 1 <= left_ms <= lifetime_ms


def _read(value: str) -> dict[tuple[int, int], Entry]:
    """Read a stored state without the script: `TH1;`, then `window/resolution=index,current,sum,slot:units,...;`."""
    assert re.fullmatch(f"TH1;(?:{_ENTRY.pattern})+", value)
    entries: dict[tuple[int, int], Entry] = {}
    for window_ms, resolution, index, current, held, older in _ENTRY.findall(value):
        pairs = tuple((int(slot), int(units)) for slot, units in re.findall(r"(\d+):(\d+)", older))
        assert int(held) == sum(units for _, units in pairs)
        entries[int(window_ms), int(resolution)] = Entry(
            index=int(index), current=int(current), total=int(current) + int(held), older=pairs
        )
    return entries


def _shortened(entry: Entry) -> Entry:
    older = tuple((index % 1_000, units) for index, units in entry.older)
    return Entry(index=entry.index, current=entry.current, total=entry.total, older=older)
