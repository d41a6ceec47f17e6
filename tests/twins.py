"""The scripts of limits as their twins see them: arguments of policies, verdicts of replies, states of texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from tests.worlds import StoreWorld
from tollhouse.limits.algorithms.counters import Counter, CounterId, Hold, SubjectState
from tollhouse.limits.algorithms.evaluate import FULL, LimitStatus, Verdict
from tollhouse.limits.algorithms.take_all import JointVerdict
from tollhouse.limits.policy.policy import Limit, Policy

_STATE = re.compile(
    r"TH1;(?P<holds>(?:hold/[\w-]+=\d+,\d+,\d+;)*)(?P<heads>(?:[a-z\d/-]+=\d+;)*)(?P<totals>(?:\d+;)*)"
    r"(?P<olders>(?:\d+(?:,\d+:\d+)*;)*)"
)


class Answer(Struct, frozen=True, kw_only=True):
    """What a script replied: how much it discarded, and what it decided of each take."""

    foreign: int
    unbelieved: int
    verdicts: tuple[Verdict, ...]


def numbers(policy: Policy) -> list[str | int]:
    """Give the arguments that stand for a policy's limits."""
    return [number for one in policy.limits for number in (one.units, one.window_ms, _third(policy, one))]


async def take(world: StoreWorld, takes: Sequence[tuple[str, Policy, int]], script: str = "limits/take") -> list[int]:
    """Run a script that takes over many keys; each take is a key, a policy and a cost."""
    policies = list(dict.fromkeys(policy for _, policy, _ in takes))
    args: list[str | int] = [len(policies)]
    for policy in policies:
        args += [policy.algorithm, len(policy.limits), *numbers(policy)]
    for _, policy, cost in takes:
        args += [policies.index(policy) + 1, cost]
    return await world.stores.limits.run(script, [key for key, _, _ in takes], args)


async def ask(world: StoreWorld, script: str, key: str, policy: Policy, *before: str | int) -> list[int]:
    """Run a script over one key; what is not of the policy comes before it."""
    return await world.stores.limits.run(script, [key], [*before, policy.algorithm, *numbers(policy)])


def answer(reply: Sequence[int], policies: Sequence[Policy]) -> Answer:
    """Read a reply of limits/take or limits/peek."""
    foreign, unbelieved, *rest = reply
    left = iter(rest)
    verdicts = tuple(_verdict(policy, left) for policy in policies)
    assert not list(left)
    return Answer(foreign=foreign, unbelieved=unbelieved, verdicts=verdicts)


def joint(reply: Sequence[int], policies: Sequence[Policy]) -> JointVerdict:
    """Read a reply of limits/take_all."""
    foreign, unbelieved, wait_ms, *rest = reply
    verdicts = answer([foreign, unbelieved, *rest], policies).verdicts
    return JointVerdict(allowed=wait_ms == 0, retry_after_ms=wait_ms if wait_ms > 0 else None, verdicts=verdicts)


def counted(reply: Sequence[int], policy: Policy) -> tuple[int, Verdict | tuple[LimitStatus, ...]]:
    """Read a reply of limits/take_up_to, limits/refund or limits/settle: a number, and what follows it."""
    _, _, number, *rest = reply
    left = iter(rest)
    return number, standings(left, policy) if len(rest) == 2 * len(policy.limits) else _verdict(policy, left)


def standings(left: Iterator[int], policy: Policy) -> tuple[LimitStatus, ...]:
    """Read where each limit stands."""
    return tuple(LimitStatus(remaining=next(left), reset_after_ms=next(left)) for _ in policy.limits)


def read_state(text: str) -> SubjectState:
    """Read a stored state without the scripts: what is held, then names, totals and older units of all windows.

    An index modulo those that count stands for it; `shortened` makes the same of a state of the twin.
    """
    found = _STATE.fullmatch(text)
    assert found is not None
    heads, totals, olders = (found[part].split(";")[:-1] for part in ("heads", "totals", "olders"))
    # With three fields alike for each window, the numbers after the totals may read as totals as well.
    totals, olders = (totals + olders)[: len(heads)], (totals + olders)[len(heads) :]
    assert len(heads) == len(totals) == len(olders)
    return SubjectState(
        counters=dict(map(_entry, heads, totals, olders)),
        holds=tuple(_hold(*hold) for hold in re.findall(r"hold/([\w-]+)=(\d+),(\d+),(\d+);", found["holds"])),
    )


def shortened(state: SubjectState) -> SubjectState:
    """Give a state of the twin as `read_state` gives the stored one."""
    entries = {
        name: replace(entry, previous=tuple((index % _slots(name), units) for index, units in entry.previous))
        for name, entry in state.counters.items()
    }
    return SubjectState(counters=entries, holds=state.holds)


def _entry(head: str, total: str, older: str) -> tuple[CounterId, Counter]:
    name, _, index = head.partition("=")
    first, _, last = name.partition("/")
    known = ("sliding-window", int(first), int(last)) if first.isdecimal() else (first, int(last), 0)
    third, *pairs = older.split(",")
    if known[0] == "gcra":
        assert not pairs
        return known, Counter(index=int(index), current=int(total), fraction=int(third))
    held = tuple((int(slot), int(units)) for slot, units in (pair.split(":") for pair in pairs))
    assert int(third) == sum(units for _, units in held)
    return known, Counter(index=int(index), current=int(total) - int(third), previous=held)


def _hold(name: str, units: str, made_ms: str, held_ms: str) -> Hold:
    return Hold(name=name, units=int(units), made_ms=int(made_ms), held_ms=int(held_ms))


def _verdict(policy: Policy, left: Iterator[int]) -> Verdict:
    refused_by, retry_after_ms = next(left), next(left)
    assert retry_after_ms != 0 if refused_by else retry_after_ms == 0
    position = FULL if refused_by == -1 else refused_by - 1
    return Verdict(
        refused_by=position if refused_by else None,
        retry_after_ms=retry_after_ms if refused_by and retry_after_ms > 0 else None,
        statuses=standings(left, policy),
    )


def _third(policy: Policy, limit: Limit) -> int:
    if policy.algorithm == "gcra":
        return limit.capacity
    return limit.resolution if policy.algorithm == "sliding-window" else 0


def _slots(name: CounterId) -> int:
    algorithm, window_ms, resolution = name
    return {"sliding-window": resolution + 1, "sliding-log": window_ms, "sliding-window-counter": 2}.get(algorithm, 1)
