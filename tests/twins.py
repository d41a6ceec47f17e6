"""Converts between the scripts of limits and their twins: arguments, verdicts of replies, states of stored texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from tests.worlds import StoreWorld
from tollhouse.limits.algorithms.counters import Counter, CounterId, Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import FULL, LimitStatus, Verdict
from tollhouse.limits.algorithms.take_all import JointVerdict
from tollhouse.limits.policy.policy import Algorithm, Policy
from tollhouse.limits.wire.compiled_policy import compile_policies

_STATE = re.compile(
    r"TH1;(?P<holds>(?:hold/[\w-]+=\d+,\d+,\d+;)*)(?P<heads>(?:[a-z\d/-]+=\d+;)*)(?P<totals>(?:\d+;)*)"
    r"(?P<previous>(?:\d+(?:,\d+:\d+)*;)*)"
)
_STATE_OF_SLOTS = re.compile(
    r"TH2;(?P<names>(?:[a-z\d/-]+=)+)(?P<digits>(?:\d{16})+)(?P<previous>(?:(?:\d+/)?(?:\d+(?:,\d+:\d+)+)?;?)*)"
)
_LOW, _UNITS, _BEHIND = 1 << 22, 1 << 30, 3 << 20


class Answer(Struct, frozen=True, kw_only=True):
    """A decoded reply: how much the script discarded, and its verdict on each take."""

    foreign: int
    discarded: int
    verdicts: tuple[Verdict, ...]


def numbers(policy: Policy) -> list[str | int]:
    """Return the arguments for a policy's limits."""
    return [number for one in policy.limits for number in (one.units, one.window_ms, one.parameter(policy.algorithm))]


async def take(world: StoreWorld, takes: Sequence[tuple[str, Policy, int]], script: str = "limits/take") -> list[int]:
    """Run a script that takes over many keys; each take is a key, a policy and a cost.

    A take that is alone runs as a process sends it, which may be by limits/take_one or limits/take_metered.
    """
    if script == "limits/take" and len(takes) == 1:
        ((key, policy, cost),) = takes
        script, args = compile_policies({policy.name: policy}, 1)[policy.name].solo_call(cost)
        return await world.stores.limits.run(script, [key], args)
    policies = list(dict.fromkeys(policy for _, policy, _ in takes))
    args: list[str | int] = [len(policies)]
    for policy in policies:
        args += [policy.algorithm, len(policy.limits), *numbers(policy)]
    for _, policy, cost in takes:
        args += [policies.index(policy) + 1, cost]
    return await world.stores.limits.run(script, [key for key, _, _ in takes], args)


async def ask(world: StoreWorld, script: str, key: str, policy: Policy, *before: str | int) -> list[int]:
    """Run a script on one key; `before` are the arguments before those of the policy."""
    return await world.stores.limits.run(script, [key], [*before, policy.algorithm, *numbers(policy)])


def answer(reply: Sequence[int], policies: Sequence[Policy]) -> Answer:
    """Decode a reply of a script that takes, alone or with others, or of limits/peek."""
    if len(reply) == 1:
        return Answer(foreign=0, discarded=0, verdicts=(_admission(policies[0], reply[0]),))
    foreign, discarded, *rest = reply
    left = iter(rest)
    verdicts = tuple(_verdict(policy, left) for policy in policies)
    assert not list(left)
    return Answer(foreign=foreign, discarded=discarded, verdicts=verdicts)


def joint(reply: Sequence[int], policies: Sequence[Policy]) -> JointVerdict:
    """Decode a reply of limits/take_all."""
    foreign, discarded, wait_ms, *rest = reply
    verdicts = answer([foreign, discarded, *rest], policies).verdicts
    return JointVerdict(allowed=wait_ms == 0, retry_after_ms=wait_ms if wait_ms > 0 else None, verdicts=verdicts)


def counted(reply: Sequence[int], policy: Policy) -> tuple[int, Verdict | tuple[LimitStatus, ...]]:
    """Decode a reply of limits/take_up_to, limits/refund or limits/settle: a number, and what follows it."""
    _, _, number, *rest = reply
    left = iter(rest)
    return number, statuses(left, policy) if len(rest) == 2 * len(policy.limits) else _verdict(policy, left)


def statuses(left: Iterator[int], policy: Policy) -> tuple[LimitStatus, ...]:
    """Decode the status of each limit."""
    return tuple(LimitStatus(remaining=next(left), reset_after_ms=next(left)) for _ in policy.limits)


def read_state(text: str, now_ms: int) -> SubjectState:
    """Decode a state that is stored at `now_ms`, without the scripts; `TH1;` and `TH2;` are its two forms.

    A slot is stored as its index modulo span + 1; `with_slots` does the same to a state of the twin.
    """
    if found := _STATE_OF_SLOTS.fullmatch(text):
        return _state_of_slots(found, now_ms)
    found = _STATE.fullmatch(text)
    assert found is not None
    heads, totals, previous = (found[part].split(";")[:-1] for part in ("heads", "totals", "previous"))
    # With three fields alike for each window, the numbers after the totals may read as totals as well.
    totals, previous = (totals + previous)[: len(heads)], (totals + previous)[len(heads) :]
    assert len(heads) == len(totals) == len(previous)
    return SubjectState(
        counters=dict(map(_counter, heads, totals, previous)),
        holds=tuple(_hold(*hold) for hold in re.findall(r"hold/([\w-]+)=(\d+),(\d+),(\d+);", found["holds"])),
    )


def _state_of_slots(found: re.Match[str], now_ms: int) -> SubjectState:
    """Decode a state of windows with slots: 16 digits for each, then what it has of its previous slots."""
    names = found["names"].split("=")[:-1]
    digits = [int(found["digits"][at : at + 16]) - 10**15 for at in range(0, len(found["digits"]), 16)]
    tails = found["previous"].split(";")
    tails += [""] * (len(names) - len(tails))
    assert len(names) == len(digits) == len(tails)
    counters: dict[CounterId, Counter] = {}
    for name, number, tail in zip(names, digits, tails, strict=True):
        in_ms = re.sub(r"^(\D*\d+)", r"\g<1>000", name)
        high, _, previous = tail.rpartition("/")
        low, total = divmod(number, _UNITS)
        index = int(high) * _LOW + low if high else _nearest(in_ms, low, now_ms)
        counters.update([_counter(f"{in_ms}={index}", str(total), previous or "0")])
    return SubjectState(counters=counters)


def _nearest(name: str, low: int, now_ms: int) -> int:
    """Return the index near now whose lower 22 bits are `low`."""
    algorithm, window_ms, resolution = _counter_id(name)
    slots = {"sliding-window": resolution, "sliding-log": window_ms}.get(algorithm, 1)
    first = now_ms * slots // window_ms - _BEHIND
    return first + (low - first) % _LOW


def with_slots(state: SubjectState) -> SubjectState:
    """Return a state of the twin in the form in which `read_state` returns the stored one."""
    counters = {
        name: replace(counter, previous=tuple((index % _ring(name), units) for index, units in counter.previous))
        for name, counter in state.counters.items()
    }
    return SubjectState(counters=counters, holds=state.holds)


def _counter(head: str, total: str, previous: str) -> tuple[CounterId, Counter]:
    name, _, index = head.partition("=")
    known = _counter_id(name)
    third, *pairs = previous.split(",")
    if known[0] == "gcra":
        assert not pairs
        return known, Counter(index=int(index), current=int(total), fraction=int(third))
    held = tuple((int(slot), int(units)) for slot, units in (pair.split(":") for pair in pairs))
    assert int(third) == sum(units for _, units in held)
    return known, Counter(index=int(index), current=int(total) - int(third), previous=held)


def _counter_id(name: str) -> CounterId:
    first, _, last = name.partition("/")
    return ("sliding-window", int(first), int(last)) if first.isdecimal() else (cast("Algorithm", first), int(last), 0)


def _hold(name: str, units: str, made_ms: str, held_ms: str) -> Hold:
    return Hold(name=name, units=int(units), made_ms=int(made_ms), held_ms=int(held_ms))


def _verdict(policy: Policy, left: Iterator[int]) -> Verdict:
    refused_by = next(left)
    if refused_by < FULL:  # one number says it all
        return _admission(policy, refused_by)
    retry_after_ms = next(left)
    assert retry_after_ms != 0 if refused_by else retry_after_ms == 0
    position = FULL if refused_by == -1 else refused_by - 1
    return Verdict(
        refused_by=position if refused_by else None,
        retry_after_ms=retry_after_ms if refused_by and retry_after_ms > 0 else None,
        statuses=statuses(left, policy),
    )


def _admission(policy: Policy, number: int) -> Verdict:
    (limit,) = policy.limits
    remaining, reset_after_ms = divmod(-number, 2 * (limit.window_ms + 1))
    status = LimitStatus(remaining=remaining, reset_after_ms=reset_after_ms)
    return Verdict(refused_by=None, retry_after_ms=None, statuses=(status,))


def _ring(name: CounterId) -> int:
    algorithm, window_ms, resolution = name
    return {"sliding-window": resolution + 1, "sliding-log": window_ms, "sliding-window-counter": 2}.get(algorithm, 1)
