"""Decisions as HTTP fields, read back by a parser of structured fields that shares no code with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.structured_fields import Item, parse_dictionary, parse_list
from tollhouse.asgi.ratelimit.headers import DIALECTS, FIELDS_BYTES_MAX, RateLimitFields
from tollhouse.errors import ConfigurationError
from tollhouse.limits.decision import Decision, LimitState, TakeAllResult
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy
from tollhouse.settings.model import Dialect

Limits = list[tuple[int, int, int, int]]

LIMITS = st.lists(
    st.tuples(
        st.integers(1, 10**9),
        st.integers(1, 366 * 86_400).map(lambda seconds: seconds * 1_000),
        st.integers(0, 10**9),
        st.integers(0, 2**36),
    ),
    min_size=1,
    max_size=8,
)


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


def fields(
    outcome: Decision | TakeAllResult,
    dialect: Dialect = "draft-11",
    policies: Mapping[str, Policy] | None = None,
    also: Sequence[Decision] = (),
    wall: Callable[[], float] = time.time,
) -> list[tuple[str, str]]:
    """Return the fields of an outcome as text."""
    found = RateLimitFields(dialect, wall).of(outcome, policies or {}, also)
    return [(name.decode(), value.decode()) for name, value in found]


MINUTE = decision((100, 60_000, 99, 63_750))
TWO = decision((5, 1_000, 4, 1_063), (100, 60_000, 20, 63_750))


def test_a_policy_of_one_limit_goes_by_its_name() -> None:
    """One limit: the policy's name, its quota and window, what remains and the time until it is whole."""
    found = fields(MINUTE)

    assert found == [("ratelimit-policy", '"api";q=100;w=60'), ("ratelimit", '"api";r=99;t=64')]


def test_a_policy_of_several_limits_names_each_window() -> None:
    """Several limits: each goes by the policy's name and its window in seconds, in the policy's order."""
    found = dict(fields(TWO))

    assert parse_list(found["ratelimit-policy"]) == [("api/1", {"q": 5, "w": 1}), ("api/60", {"q": 100, "w": 60})]
    assert parse_list(found["ratelimit"]) == [("api/1", {"r": 4, "t": 2}), ("api/60", {"r": 20, "t": 64})]


def test_decisions_that_were_made_as_one_are_told_in_one_list() -> None:
    """What several policies decided about one request stands in one field, and Retry-After is that of all of them."""
    user = decision((10, 60_000, 0, 60_000), allowed=False, retry_after_ms=60_000, policy="user")
    together = TakeAllResult(allowed=False, decisions=(MINUTE, user), retry_after_ms=60_000)

    found = dict(fields(together))

    assert [name for name, _ in parse_list(found["ratelimit-policy"])] == ["api", "user"]
    assert [name for name, _ in parse_list(found["ratelimit"])] == ["api", "user"]
    assert found["retry-after"] == "60"


def test_other_decisions_about_the_request_are_told_too() -> None:
    """What was decided beside the outcome comes before it in the lists."""
    found = dict(fields(decision((1, 60_000, 1, 0), policy="inner"), also=[MINUTE]))

    assert [name for name, _ in parse_list(found["ratelimit"])] == ["api", "inner"]


WINDOWS = tuple((10**9, seconds * 1_000, 10**9, 2**36) for seconds in range(31_622_400, 31_622_392, -1))


def size_of(found: Sequence[tuple[str, str]]) -> int:
    return sum(len(value) for name, value in found if name.startswith("ratelimit"))


def test_a_policy_is_named_once() -> None:
    """Of decisions by one policy about two keys, the refusal is shown, else the one of which least remains."""
    full, less = (decision((100, 60_000, remaining, 60_000)) for remaining in (90, 20))
    refused = decision((100, 60_000, 30, 60_000), allowed=False)
    other = decision((5, 60_000, 5, 0), policy="other")

    allowed = dict(fields(TakeAllResult(allowed=True, decisions=(full, other, less), retry_after_ms=None)))
    denied = dict(fields(refused, also=[full, other, less]))

    assert parse_list(allowed["ratelimit"]) == [("other", {"r": 5, "t": 0}), ("api", {"r": 20, "t": 60})]
    assert parse_list(denied["ratelimit"]) == [("other", {"r": 5, "t": 0}), ("api", {"r": 30, "t": 60})]
    assert [name for name, _ in parse_list(denied["ratelimit-policy"])] == ["other", "api"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fields_are_bounded(dialect: Dialect) -> None:
    """64 policies of 8 windows with the longest names stay below 2,048 bytes, in every dialect."""
    decisions = tuple(decision(*WINDOWS, policy=f"{'p' * 61}-{number:02}") for number in range(64))

    found = fields(TakeAllResult(allowed=True, decisions=decisions, retry_after_ms=None), dialect)

    assert size_of(found) <= FIELDS_BYTES_MAX == 2_048
    assert len(found) == len(fields(decisions[0], dialect))


def test_one_policy_always_fits() -> None:
    """A policy of 8 windows with the longest name and the largest numbers is shown whole."""
    largest = decision(*WINDOWS, policy="p" * 64)

    found = fields(largest, also=[decision(*WINDOWS, policy="q" * 64)])

    assert len(parse_list(dict(found)["ratelimit"])) == 8
    assert size_of(fields(largest)) <= FIELDS_BYTES_MAX


def test_what_is_left_out_is_never_the_tightest() -> None:
    """The policies that refuse are kept, then those of which least remains; the order of the decisions stays."""
    decisions = [decision((1_000, 60_000, 999 - 3 * at, 60_000), policy=f"policy-{at:03}") for at in range(300)]
    decisions[7] = decision((1_000, 60_000, 980, 60_000), policy="policy-007", allowed=False)

    shown = [name for name, _ in parse_list(dict(fields(decisions[0], also=decisions[1:]))["ratelimit"])]

    assert shown[0] == "policy-007"
    assert shown[1:] == [f"policy-{at:03}" for at in range(301 - len(shown), 300)]
    assert len(shown) > 20


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), LIMITS, st.booleans()), min_size=1, max_size=40))
def test_any_decisions_read_back_within_the_bound(given: list[tuple[str, Limits, bool]]) -> None:
    """Whatever was decided about one request, both fields name the same limits, each once, within the bound."""
    decisions = [decision(*limits, policy=name * 9, allowed=allowed) for name, limits, allowed in given]

    found = fields(decisions[-1], also=decisions[:-1])

    quotas, states = (parse_list(dict(found)[name]) for name in ("ratelimit-policy", "ratelimit"))
    assert [name for name, _ in quotas] == [name for name, _ in states]
    assert {str(name).partition("/")[0] for name, _ in states} <= {one.policy for one in decisions}
    assert len({str(name).partition("/")[0] for name, _ in states}) >= min(3, len({one.policy for one in decisions}))
    assert size_of(found) <= FIELDS_BYTES_MAX


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_is_told_where_no_limit_was_asked(dialect: Dialect) -> None:
    """A decision without limits, by a list or in an outage, has no fields; one beside it keeps its own."""
    assert fields(decision(), dialect) == []
    assert fields(decision(), dialect, also=[MINUTE]) == fields(MINUTE, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("retry_after_ms", "value"), [(1, "1"), (999, "1"), (1_000, "1"), (1_001, "2"), (63_750, "64"), (0, "1")]
)
def test_retry_after_is_whole_seconds_and_never_too_early(dialect: Dialect, retry_after_ms: int, value: str) -> None:
    """In every dialect Retry-After is rounded up and at least 1, so that a client that waits for it is admitted."""
    found = fields(decision((1, 60_000, 0, 63_750), retry_after_ms=retry_after_ms, allowed=False), dialect)

    assert ("retry-after", value) in found


@pytest.mark.parametrize("allowed", [True, False])
def test_there_is_no_retry_after_where_waiting_does_not_help(allowed: bool) -> None:
    """An allowed take, and one whose cost is above the limit, come without Retry-After."""
    found = dict(fields(decision((1, 60_000, 0, 63_750), allowed=allowed)))

    assert set(found) == {"ratelimit-policy", "ratelimit"}


def test_a_bucket_has_its_burst_as_its_quota() -> None:
    """The quota of gcra is what can be had at once, and its window the time in which all of that comes back."""
    policies = {"api": parse_policy("api", "10/second burst 25; 100/minute", "gcra")}

    found = dict(fields(decision((10, 1_000, 24, 100), (100, 60_000, 99, 600)), policies=policies))

    assert parse_list(found["ratelimit-policy"]) == [("api/1", {"q": 25, "w": 3}), ("api/60", {"q": 100, "w": 60})]


def test_permits_are_concurrent_requests() -> None:
    """A policy of permits counts what is held at once, so it has a unit and no window."""
    policies = {"api": parse_policy("api", "10/30s", "concurrency")}

    found = dict(fields(decision((10, 30_000, 7, 29_000)), policies=policies))

    assert parse_list(found["ratelimit-policy"]) == [("api", {"q": 10, "qu": "concurrent-requests"})]
    assert parse_list(found["ratelimit"]) == [("api", {"r": 7, "t": 29})]


def test_a_policy_that_changed_meanwhile_is_told_as_it_was_decided() -> None:
    """A decision by limits that are replaced already is told with the numbers that it has."""
    policies = {"api": parse_policy("api", "10/second burst 25; 100/minute", "gcra")}

    found = dict(fields(MINUTE, policies=policies))

    assert parse_list(found["ratelimit-policy"]) == [("api", {"q": 100, "w": 60})]


@pytest.mark.parametrize("text", ["100/minute", "100/minute; 1000/hour"])
def test_other_limits_change_nothing_of_a_policy(text: str) -> None:
    """A share in an outage, or limits that are replaced, have their own numbers, and later decisions those in force."""
    policy = parse_policy("api", text)
    own = decision(*((one.units, one.window_ms, 5, 1_000) for one in policy.limits))
    share = decision(*((one.units // 4, one.window_ms, 5, 1_000) for one in policy.limits))
    written = RateLimitFields()

    quotas = [dict(written.status([one], {"api": policy}))[b"ratelimit-policy"] for one in (share, own, share, own)]

    assert [parse_list(quota.decode())[0][1]["q"] for quota in quotas] == [25, 100, 25, 100]


def test_each_policy_is_written_as_it_is() -> None:
    """The text of a policy is kept until the policy changes; of two with one name each has its own numbers."""
    policies = [parse_policy("api", f"{units}/minute burst {units + 1}", "gcra") for units in (1, 2)]
    written = RateLimitFields()

    quotas = [dict(written.status([MINUTE], {"api": policy}))[b"ratelimit-policy"] for policy in policies * 2]
    again = written.status([MINUTE], {"api": policies[1]})

    assert [parse_list(quota.decode())[0][1]["q"] for quota in quotas] == [2, 3, 2, 3]
    assert dict(again)[b"ratelimit-policy"] == quotas[1]


def test_draft_07_is_one_field_of_three_members() -> None:
    """`draft-07`: a dictionary for the limit that is nearest to exhaustion, and a list of all quotas."""
    found = dict(fields(TWO, "draft-07"))

    members = {name: value for name, (value, _) in parse_dictionary(found["ratelimit"]).items()}
    assert members == {"limit": 100, "remaining": 20, "reset": 64}
    assert parse_list(found["ratelimit-policy"]) == [(5, {"w": 1}), (100, {"w": 60})]


def test_draft_06_is_a_field_for_each_number() -> None:
    """`draft-06`: limit, remaining and reset of the limit that is nearest to exhaustion, and all quotas."""
    found = fields(TWO, "draft-06")

    assert found == [
        ("ratelimit-policy", "5;w=1, 100;w=60"),
        ("ratelimit-limit", "100"),
        ("ratelimit-remaining", "20"),
        ("ratelimit-reset", "64"),
    ]


def test_x_ratelimit_counts_down_or_says_when() -> None:
    """`x-ratelimit` has the seconds until the reset, `x-ratelimit-epoch` its time, rounded up."""
    down = dict(fields(TWO, "x-ratelimit"))
    epoch = dict(fields(TWO, "x-ratelimit-epoch", wall=lambda: 1_800_000_000.5))

    assert down == {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "20", "x-ratelimit-reset": "64"}
    assert epoch == {**down, "x-ratelimit-reset": "1800000065"}


def test_off_leaves_only_retry_after() -> None:
    """`off` tells how long to wait, and nothing else."""
    assert fields(MINUTE, "off") == []
    assert fields(decision((1, 60_000, 0, 1), retry_after_ms=5_000, allowed=False), "off") == [("retry-after", "5")]


NEAREST = [
    ([(10, 1_000, 1, 900), (100, 60_000, 5, 9_000)], "100"),  # 5 of 100 is less than 1 of 10
    ([(10, 1_000, 0, 900), (100, 60_000, 0, 9_000)], "100"),  # of two that are used up, the one that takes longer
    ([(10, 1_000, 0, 9_000), (100, 60_000, 0, 900)], "10"),
]


@pytest.mark.parametrize(("limits", "told"), NEAREST)
def test_one_limit_is_the_one_nearest_to_exhaustion(limits: Limits, told: str) -> None:
    """A dialect that has room for one limit tells of the one of which least remains, as a share of it."""
    assert dict(fields(decision(*limits), "x-ratelimit"))["x-ratelimit-limit"] == told


@given(st.text(alphabet=[chr(code) for code in range(0x20, 0x7F)], min_size=1))
def test_names_are_quoted(policy: str) -> None:
    """A quote or a backslash in a name is escaped, so that no name can end its string."""
    found = dict(fields(decision((1, 60_000, 1, 0), policy=policy)))

    assert parse_list(found["ratelimit"]) == [(policy, {"r": 1, "t": 0})]


@given(LIMITS)
def test_any_decision_reads_back(limits: Limits) -> None:
    """Both fields are Lists of Strings with Integers, one item for each limit, times rounded up."""
    found = dict(fields(decision(*limits)))

    policies, standings = parse_list(found["ratelimit-policy"]), parse_list(found["ratelimit"])
    assert [name for name, _ in policies] == [name for name, _ in standings]
    assert [numbers for _, numbers in policies] == [{"q": one[0], "w": one[1] // 1_000} for one in limits]
    assert [numbers["r"] for _, numbers in standings] == [one[2] for one in limits]
    assert all(_is_rounded_up(item, one[3]) for item, one in zip(standings, limits, strict=True))


@given(LIMITS)
def test_older_dialects_tell_of_one_of_the_limits(limits: Limits) -> None:
    """The numbers of `draft-07` and `draft-06` agree, and belong to one limit of the decision."""
    told = parse_dictionary(dict(fields(decision(*limits), "draft-07"))["ratelimit"])
    single = dict(fields(decision(*limits), "draft-06"))

    numbers = tuple(value for value, _ in told.values())
    assert numbers == tuple(int(single[f"ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
    assert numbers in [(one[0], one[2], -(-one[3] // 1_000)) for one in limits]
    assert [quota for quota, _ in parse_list(single["ratelimit-policy"])] == [one[0] for one in limits]


def _is_rounded_up(item: Item, reset_after_ms: int) -> bool:
    seconds = item[1]["t"]
    assert isinstance(seconds, int)
    return 0 <= seconds * 1_000 - reset_after_ms < 1_000


@pytest.mark.parametrize("dialect", ["draft-12", "DRAFT-11", ""])
def test_a_dialect_that_does_not_exist_is_refused(dialect: str) -> None:
    """A word that is no dialect is refused when the limit is made, not at the first request."""
    with pytest.raises(ConfigurationError) as caught:
        RateLimitFields(cast("Dialect", dialect))

    assert (caught.value.setting, caught.value.value) == ("headers", dialect)


@pytest.mark.parametrize(
    ("dialect", "meant"),
    [
        ("draft-7", "draft-07"),
        ("draft6", "draft-06"),
        ("DRAFT-11", "draft-11"),
        ("x-rate-limit", "x-ratelimit"),
        ("X-RateLimit", "x-ratelimit"),
    ],
)
def test_a_misspelled_dialect_is_told(dialect: str, meant: str) -> None:
    """A dialect of `headers` that does not exist is refused with the nearest one."""
    with pytest.raises(ConfigurationError) as caught:
        RateLimitFields(cast("Any", dialect))

    assert (caught.value.setting, caught.value.value) == ("headers", dialect)
    assert f"did you mean {meant!r}?" in caught.value.remedy
