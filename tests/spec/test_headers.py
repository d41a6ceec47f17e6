"""Decisions as HTTP fields, read back by a small parser of structured fields that shares no code with them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.limits.decision import Decision, LimitState
from tollhouse.limits.headers import fields

Item = tuple[str, dict[str, int]]

_ITEM = re.compile(r'"((?:[^"\\]|\\["\\])*)"((?:;[a-z]+=-?[0-9]{1,15})*)')


def parse(value: str) -> list[Item]:
    """Read a List of Strings whose parameters are Integers (RFC 9651), or fail."""
    items: list[Item] = []
    at = 0
    while True:
        match = _ITEM.match(value, at)
        assert match, f"no item at {at} of {value!r}"
        pairs = [pair.split("=") for pair in match[2].split(";")[1:]]
        items.append((re.sub(r"\\(.)", r"\1", match[1]), {name: int(number) for name, number in pairs}))
        at = match.end()
        if at == len(value):
            return items
        assert value[at : at + 2] == ", "
        at += 2


def decision(
    *limits: tuple[int, int, int, int], retry_after_ms: int | None = None, allowed: bool = True, policy: str = "api"
) -> Decision:
    states = tuple(
        LimitState(limit=limit, window_ms=window_ms, remaining=remaining, reset_after_ms=reset_after_ms)
        for limit, window_ms, remaining, reset_after_ms in limits
    )
    return Decision(
        allowed=allowed,
        policy=policy,
        key="ada",
        cost=1,
        limits=states,
        retry_after_ms=retry_after_ms,
        refused_by=None if allowed else "100/minute",
    )


def test_a_policy_of_one_limit_goes_by_its_name() -> None:
    """One limit: the policy's name, its quota and window, what remains and the time until it is whole."""
    found = fields(decision((100, 60_000, 99, 63_750)))

    assert found == [("RateLimit-Policy", '"api";q=100;w=60'), ("RateLimit", '"api";r=99;t=64')]


def test_a_policy_of_several_limits_names_each_window() -> None:
    """Several limits: each goes by the policy's name and its window in seconds, in the policy's order."""
    found = dict(fields(decision((5, 1_000, 4, 1_063), (100, 60_000, 99, 63_750))))

    assert parse(found["RateLimit-Policy"]) == [("api/1", {"q": 5, "w": 1}), ("api/60", {"q": 100, "w": 60})]
    assert parse(found["RateLimit"]) == [("api/1", {"r": 4, "t": 2}), ("api/60", {"r": 99, "t": 64})]


@pytest.mark.parametrize(
    ("retry_after_ms", "value"), [(1, "1"), (999, "1"), (1_000, "1"), (1_001, "2"), (63_750, "64"), (0, "1")]
)
def test_retry_after_is_whole_seconds_and_never_too_early(retry_after_ms: int, value: str) -> None:
    """Retry-After is rounded up and at least 1, so that whoever waits for it is admitted."""
    found = fields(decision((1, 60_000, 0, 63_750), retry_after_ms=retry_after_ms, allowed=False))

    assert ("Retry-After", value) in found


@pytest.mark.parametrize("allowed", [True, False])
def test_there_is_no_retry_after_where_waiting_does_not_help(allowed: bool) -> None:
    """An allowed take, and one whose cost is above the limit, come without Retry-After."""
    found = dict(fields(decision((1, 60_000, 0, 63_750), allowed=allowed)))

    assert set(found) == {"RateLimit-Policy", "RateLimit"}


@given(st.text(alphabet=[chr(code) for code in range(0x20, 0x7F)], min_size=1))
def test_names_are_quoted(policy: str) -> None:
    """A quote or a backslash in a name is escaped, so that no name can end its string."""
    found = dict(fields(decision((1, 60_000, 1, 0), policy=policy)))

    assert parse(found["RateLimit"]) == [(policy, {"r": 1, "t": 0})]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**9),
            st.integers(1, 366 * 86_400).map(lambda seconds: seconds * 1_000),
            st.integers(0, 10**9),
            st.integers(0, 2**36),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_decision_reads_back(limits: list[tuple[int, int, int, int]]) -> None:
    """Both fields are Lists of Strings with Integers, one item for each limit, times rounded up."""
    found = dict(fields(decision(*limits)))

    policies, standings = parse(found["RateLimit-Policy"]), parse(found["RateLimit"])
    assert [name for name, _ in policies] == [name for name, _ in standings]
    assert [numbers for _, numbers in policies] == [{"q": one[0], "w": one[1] // 1_000} for one in limits]
    assert [numbers["r"] for _, numbers in standings] == [one[2] for one in limits]
    assert all(0 <= numbers["t"] * 1_000 - one[3] < 1_000 for (_, numbers), one in zip(standings, limits, strict=True))
