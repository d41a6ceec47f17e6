"""Policies: valid limits, their notations, and the errors for all others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.errors import InvalidInput
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import ALGORITHMS, LIMITS_MAX, UNITS_MAX, WINDOW_MS_MAX, Limit, Policy

MINUTE = Limit(units=5, window_ms=60_000)

ACCEPTED = [
    ("5/second", "5/second"),
    ("5/s", "5/second"),
    ("5/sec", "5/second"),
    ("5/m", "5/minute"),
    ("5/min", "5/minute"),
    ("100/5m", "100/5 minutes"),
    ("100/5 minutes", "100/5 minutes"),
    ("100 / 5 min", "100/5 minutes"),
    ("10/10s", "10/10 seconds"),
    ("10 per hour", "10/hour"),
    ("10 per 2 hours", "10/2 hours"),
    ("10 PER Hour", "10/hour"),
    ("100/300", "100/5 minutes"),
    ("100/90", "100/90 seconds"),
    ("10-M", "10/minute"),
    ("5-S", "5/second"),
    ("1000-H", "1000/hour"),
    ("2000-D", "2000/day"),
    ("100/d", "100/day"),
    ("7/w", "7/week"),
    ("7/14 days", "7/2 weeks"),
    ("3/mo", "3/30 days"),
    ("3/months", "3/30 days"),
    ("3/y", "3/365 days"),
    ("5/second; 100/minute; 1000/hour; 10000/day", "5/second; 100/minute; 1000/hour; 10000/day"),
    ("5/s,100/m", "5/second; 100/minute"),
    ("5/s | 100/m", "5/second; 100/minute"),
    ("1000000000/366d", "1000000000/366 days"),
]

#    text                 the remedy
REFUSED = [
    ("5/mn", "did you mean 5/min or 5/month?"),
    ("10 per hr", "did you mean 10 per hour?"),
    ("5/minuts; 1/day", "did you mean 5/minutes?"),
    ("5/mniute", "did you mean 5/minute?"),
    ("100/5 huors", "did you mean 100/5 hours?"),
    ("5 per 2 HUORS", "did you mean 5 per 2 hours?"),
    ("5/mins", "did you mean 5/min?"),
    ("5/500ms", "give a window of 1 second to 366 days"),
    ("5/500 milliseconds", "give a window of 1 second to 366 days"),
    ("5/second 100/minute", "write `;` between limits, as in 5/second; 100/minute"),
    ("5/s 100/m 9 per hour", "write `;` between limits, as in 5/second; 100/minute"),
    ("5-Q", "q is no unit of time: use second, minute, hour, day, week, month or year"),
    ("5/fortnight", "fortnight is no unit of time: use second, minute, hour, day, week, month or year"),
    ("", "write units and a window, such as 5/second or 100/5 minutes"),
    ("5", "write units and a window, such as 5/second or 100/5 minutes"),
    ("5/", "write units and a window, such as 5/second or 100/5 minutes"),
    ("five/minute", "write units and a window, such as 5/second or 100/5 minutes"),
    ("-5/minute", "write units and a window, such as 5/second or 100/5 minutes"),
    ("5/minute;", "write units and a window, such as 5/second or 100/5 minutes"),
    ("\N{ARABIC-INDIC DIGIT FIVE}/minute", "write units and a window, such as 5/second or 100/5 minutes"),
    ("10-300", "write units and a window, such as 5/second or 100/5 minutes"),
    ("1000/s burst 2000", "leave out `burst 2000`, or say algorithm gcra: only that one has a burst"),
    ("1000/s burst", "write units and a window, such as 5/second or 100/5 minutes"),
    ("0/minute", "allow 1 to 1,000,000,000 units"),
    ("1000000001/minute", "allow 1 to 1,000,000,000 units"),
    ("5/0s", "give a window of 1 second to 366 days"),
    ("5/367d", "give a window of 1 second to 366 days"),
    ("5/2y", "give a window of 1 second to 366 days"),
    ("5/minute; 6/60s", "give each window once, with the smaller number"),
    ("1/1;1/2;1/3;1/4;1/5;1/6;1/7;1/8;1/9", "give 1 to 8 limits"),
    ("5/minute" + " " * 600, "write limits in at most 512 characters"),
    ("5/" + "9" * 400 + "s", "give a window of 1 second to 366 days"),
]


@pytest.mark.parametrize(("text", "canonical"), ACCEPTED)
def test_notations_of_other_limiters_are_parsed(text: str, canonical: str) -> None:
    """The notations of other limiters are parsed, and printed in one canonical form."""
    assert parse_policy("api", text).text == canonical


@pytest.mark.parametrize(("text", "remedy"), REFUSED)
def test_a_wrong_notation_has_a_remedy(text: str, remedy: str) -> None:
    """An error names the policy, the part that is wrong and what to write instead."""
    with pytest.raises(InvalidInput) as caught:
        parse_policy("api", text)

    assert caught.value.field == "policies.api"
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("text", ["5/minute;", "5/minute; ; 9/hour", ";"])
def test_a_limit_that_is_missing_shows_the_whole_text(text: str) -> None:
    """A separator with nothing beside it is shown with what stands around it."""
    with pytest.raises(InvalidInput) as caught:
        parse_policy("api", text)

    assert caught.value.value == text


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (Limit(units=0, window_ms=60_000), "0/minute"),
        (Limit(units=9, window_ms=1_000, burst=20), "9/second burst 20"),
        (Limit(units=5, window_ms=0), "5/0 ms"),
        (Limit(units=5, window_ms=1_500), "5/1500 ms"),
    ],
)
def test_a_refused_limit_is_shown_as_it_is_written(limit: Limit, shown: str) -> None:
    """The error shows the limit in the notation of policies, or its window in milliseconds if it has none."""
    with pytest.raises(InvalidInput) as caught:
        Policy(name="api", limits=(limit,))

    assert caught.value.value == shown


def policies() -> st.SearchStrategy[Policy]:
    limit = st.builds(
        Limit,
        units=st.integers(1, UNITS_MAX),
        window_ms=st.integers(1, WINDOW_MS_MAX // 1_000).map(lambda seconds: seconds * 1_000)
        | st.sampled_from([1_000, 60_000, 3_600_000, 86_400_000, 604_800_000]),
    )
    limits = st.lists(limit, min_size=1, max_size=LIMITS_MAX, unique_by=lambda one: one.window_ms)
    return limits.map(lambda some: Policy(name="api", limits=tuple(some)))


@given(policies())
def test_the_canonical_form_reads_back(policy: Policy) -> None:
    """The canonical form parses into the same limits in the same order."""
    assert parse_policy("api", policy.text) == policy


@given(st.text(alphabet="0123456789smhdwy/;,| -per burst", max_size=30) | st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Any text is either a policy whose canonical form parses back, or InvalidInput."""
    try:
        policy = parse_policy("api", text)
    except InvalidInput:
        return

    assert parse_policy("api", policy.text) == policy


@pytest.mark.parametrize("name", ["a", "api", "login-address", "v1.files_upload", "a" * 64])
def test_names_are_short_words(name: str) -> None:
    """A policy's name is 1 to 64 of a-z, 0-9, `_`, `.` and `-`, and begins with a letter."""
    assert Policy(name=name, limits=(MINUTE,)).name == name


@pytest.mark.parametrize("name", ["", "Api", "1api", "-api", "api key", "api/60", "ä", "a\n", "a" * 65])
def test_other_names_are_refused(name: str) -> None:
    """A name that cannot be part of a key, a metric and a header is refused."""
    with pytest.raises(InvalidInput) as caught:
        Policy(name=name, limits=(MINUTE,))

    assert (caught.value.field, caught.value.value) == ("policy", name)


@pytest.mark.parametrize(
    ("limits", "remedy"),
    [
        ((), "give 1 to 8 limits"),
        ((Limit(units=1, window_ms=1_500),), "give a window of whole seconds"),
        ((Limit(units=1, window_ms=60_000, resolution=0),), "give a resolution of 1 to 120"),
        ((Limit(units=1, window_ms=60_000, resolution=121),), "give a resolution of 1 to 120"),
        ((MINUTE, Limit(units=9, window_ms=60_000, resolution=4)), "give each window once, with the smaller number"),
    ],
)
def test_limits_made_in_code_are_checked_as_well(limits: tuple[Limit, ...], remedy: str) -> None:
    """A policy that is made without the notation has the same bounds."""
    with pytest.raises(InvalidInput) as caught:
        Policy(name="api", limits=limits)

    assert caught.value.remedy == remedy


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_reads_the_same_notation(algorithm: str) -> None:
    """A policy names its algorithm; the notation of limits is the same for all."""
    policy = parse_policy("api", "5/minute", algorithm)

    assert (policy.algorithm, policy.text) == (algorithm, "5/minute")


@pytest.mark.parametrize(
    ("text", "canonical", "capacity"),
    [
        ("1000/s burst 2000", "1000/second burst 2000", 2_000),
        ("10 per 5 min BURST 3", "10/5 minutes burst 3", 3),
        ("10-M  burst  20", "10/minute burst 20", 20),
        ("10/m", "10/minute", 10),
    ],
)
def test_a_burst_is_what_may_be_taken_at_once(text: str, canonical: str, capacity: int) -> None:
    """For gcra a burst may follow the window; without one it is as large as the units."""
    policy = parse_policy("api", text, "gcra")

    assert (policy.text, policy.limits[0].capacity) == (canonical, capacity)
    assert parse_policy("api", policy.text, "gcra") == policy


#    algorithm       text                        what the error says
UNFIT = [
    ("gcra", "10/minute burst 0", "give a burst of 1 to 1,000,000,000"),
    ("gcra", "10/minute burst 1000000001", "give a burst of 1 to 1,000,000,000"),
    ("gcra", "1/day burst 367", "give a burst that is restored within 366 days"),
    ("sliding-log", "10001/day", "allow at most 10,000 units, or say sliding-window: sliding-log remembers every take"),
    ("concurrency", "1001/minute", "give at most 1,000 permits: each lease is remembered"),
    ("concurrency", "5/minute; 9/hour", "give one limit: the permits, and how long a lease lasts"),
    ("fixed-window", "5/minute burst 9", "leave out `burst 9`, or say algorithm gcra: only that one has a burst"),
]


@pytest.mark.parametrize(("algorithm", "text", "remedy"), UNFIT)
def test_limits_that_an_algorithm_does_not_support_are_refused(algorithm: str, text: str, remedy: str) -> None:
    """Each algorithm has its own bounds, and the error states them."""
    with pytest.raises(InvalidInput) as caught:
        parse_policy("api", text, algorithm)

    assert (caught.value.field, caught.value.remedy) == ("policies.api", remedy)


WORDS = "sliding-window, sliding-window-counter, sliding-log, fixed-window, gcra, concurrency"
KEYS = "address, user, session, api-key, header:NAME, path:NAME"

#    field        value            what the error says
WRONG_FIELDS: list[tuple[str, object, str]] = [
    ("algorithm", "sliding-windw", f"did you mean 'sliding-window'? Known are {WORDS}"),
    ("algorithm", "gcar", f"did you mean 'gcra'? Known are {WORDS}"),
    ("algorithm", "", f"known are {WORDS}"),
    ("on_outage", "close", "did you mean 'closed'? Known are local, open, closed"),
    ("on_outage", "raise", "known are local, open, closed"),
    ("cost", -1, "give a whole number from 0 to 1,000,000,000"),
    ("cost", 1_000_000_001, "give a whole number from 0 to 1,000,000,000"),
    ("cost", 1.0, "give a whole number from 0 to 1,000,000,000"),
    ("cost", True, "give a whole number from 0 to 1,000,000,000"),
    ("key", "adress", f"did you mean 'address'? Known are {KEYS}"),
    ("key", "ip", f"known are {KEYS}"),
    ("key", "header:", f"did you mean 'header:NAME'? Known are {KEYS}"),
    ("key", "header:x y", f"did you mean 'header:NAME'? Known are {KEYS}"),
    ("key", "path:1", f"did you mean 'path:NAME'? Known are {KEYS}"),
    ("lease", "aut", "did you mean 'auto'? Known are off, auto"),
    ("shadow_of", "api", "name another policy"),
    ("shadow_of", "No Name", "name another policy"),
    ("allow", ("10.0.0.0/8",) * 1_001, "give at most 1,000; a network stands for many addresses"),
    ("allow", ("",), "give each entry 1 to 512 characters"),
    ("deny", ("a" * 513,), "give each entry 1 to 512 characters"),
]


@pytest.mark.parametrize(("name", "value", "remedy"), WRONG_FIELDS)
def test_a_wrong_field_has_a_remedy(name: str, value: object, remedy: str) -> None:
    """An error names the policy and the field, and what to write instead."""
    with pytest.raises(InvalidInput) as caught:
        Policy(name="api", limits=(MINUTE,), **{name: value})

    assert (caught.value.field, caught.value.remedy) == (f"policies.api.{name}", remedy)


def test_only_the_default_algorithm_leases() -> None:
    """Another algorithm with `lease` is a mistake, because it has no sub-bucket in which leased units wait."""
    for algorithm in ("sliding-window-counter", "sliding-log", "fixed-window", "gcra", "concurrency"):
        with pytest.raises(InvalidInput) as caught:
            parse_policy("api", "5/minute", algorithm, lease="auto")
        assert caught.value.field == "policies.api.lease"
        assert caught.value.remedy.startswith("leave it out, or say algorithm sliding-window")


def test_the_shadow_of_another_policy_is_a_shadow() -> None:
    """A policy with `shadow_of` never refuses; that `shadow` is set as well makes no difference."""
    alone = parse_policy("api", "5/minute", shadow_of="other")

    assert (alone.shadow, alone.shadow_of) == (True, "other")
    assert alone == parse_policy("api", "5/minute", shadow_of="other", shadow=True)


@pytest.mark.parametrize(
    "rule", ["address", "user", "session", "api-key", "header:X-Tenant", "path:tenant_id", f"header:{'a' * 64}"]
)
def test_a_key_rule_is_a_word_or_names_a_part_of_the_request(rule: str) -> None:
    """The key of a request is found by one of a few rules."""
    assert parse_policy("api", "5/minute", key=rule).key == rule


def test_fields_of_a_policy_are_kept() -> None:
    """Every other field of a policy has a default, and keeps the value that it is given."""
    plain = parse_policy("api", "5/minute")
    chosen = parse_policy(
        "api", "5/minute", "gcra", on_outage="closed", shadow=True, cost=3, allow=("10.0.0.0/8",), deny=("mallory",)
    )

    assert plain == Policy(name="api", limits=(MINUTE,))
    assert (plain.algorithm, plain.on_outage, plain.shadow, plain.cost) == ("sliding-window", "local", False, 1)
    assert chosen == Policy(
        name="api",
        limits=(MINUTE,),
        algorithm="gcra",
        on_outage="closed",
        shadow=True,
        cost=3,
        allow=("10.0.0.0/8",),
        deny=("mallory",),
    )


def test_the_built_in_policies() -> None:
    """Without settings there are limits for every caller, for signing up, and for wrong keys."""
    assert {name: policy.text for name, policy in BUILT_IN.items()} == {
        "default": "60/minute; 1000/hour; 10000/day",
        "session": "120/minute",
        "ai": "60/minute; 1000/hour",
        "signup": "20/hour",
        "wrong-key": "10/minute; 60/hour",
    }
    assert all(policy.name == name for name, policy in BUILT_IN.items())
