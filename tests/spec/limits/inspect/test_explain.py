"""Explanations why a key is refused: sentences, times and windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.inspect.explain import Explanation, examine
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.access_list import AccessMatch
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Policy

NOON = datetime(2027, 1, 15, 12, 0, 0, tzinfo=UTC)
FIVE_A_MINUTE = parse_policy("api", "5/minute")


class Asking:
    """A limiter over some policies, and explanations of its decisions."""

    def __init__(self, world: StoreWorld, *policies: Policy) -> None:
        self.world = world
        self.policies: Mapping[str, Policy] = {policy.name: policy for policy in policies}
        self.limiter = self.make(self.policies)

    def make(self, policies: Mapping[str, Policy]) -> Limiter:
        return Limiter(self.world.stores.limits, policies, self.world.keyring, self.world.metrics)

    async def why(self, key: str, cost: int | None = None, **other: Any) -> Explanation:
        return await examine(self.make, self.policies, "api", key, cost, clock=lambda: NOON, **other)


async def test_an_admitted_key_is_explained_with_its_windows(world: StoreWorld) -> None:
    """For an admitted key each window shows what is used, what remains, and when it is restored."""
    asking = Asking(world, parse_policy("api", "5/minute; 100/hour"))
    await asking.limiter.take("api", "ada", 2)

    explanation = await asking.why("ada")

    assert explanation.allowed
    assert explanation.sentences == ("'ada' under api is admitted: every limit has room for 1 unit.",)
    assert [(one.limit, one.used, one.of, one.remaining) for one in explanation.verdict.windows] == [
        ("5/minute", 2, 5, 3),
        ("100/hour", 2, 100, 98),
    ]
    assert all(one.restored_after_ms > 0 for one in explanation.verdict.windows)
    assert explanation.verdict.windows[0].restored_at.startswith("2027-01-15 12:01:0")


async def test_leases_are_explained(world: StoreWorld) -> None:
    """If processes lease units of the policy, a sentence says that those count; another algorithm can be tried."""
    asking = Asking(world, parse_policy("api", "1000/minute", lease="auto"))

    explanation = await asking.why("ada", algorithm="gcra")

    assert explanation.lease == "auto"
    assert explanation.sentences[-1].startswith("Nothing is counted so far")
    assert any("lease = auto" in sentence for sentence in explanation.sentences)


async def test_a_refused_key_is_explained_with_limit_and_time(world: StoreWorld) -> None:
    """A refusal names the limit, the wait in seconds, and the local time at which the same take passes."""
    asking = Asking(world, FIVE_A_MINUTE)
    await asking.limiter.take("api", "ada", 5)

    explanation = await asking.why("ada", 2)

    wait_ms = explanation.verdict.retry_after_ms
    assert wait_ms is not None
    assert not explanation.allowed
    assert explanation.verdict.refused_by == "5/minute"
    passes = f"the same take passes in {wait_ms / 1000:.3f} s, at {explanation.verdict.passes_at}."
    assert explanation.sentences == (f"'ada' under api is refused: the limit 5/minute is reached; {passes}",)
    assert str(explanation.verdict.passes_at).startswith("2027-01-15 12:01:0")
    await world.advance(wait_ms - 1)
    assert not (await asking.why("ada", 2)).allowed
    await world.advance(1)
    assert (await asking.why("ada", 2)).sentences == ("'ada' under api is admitted: every limit has room for 2 units.",)


async def test_for_a_cost_above_the_limit_no_wait_helps(world: StoreWorld) -> None:
    """For a take that can never pass the sentence says so, and no time is given."""
    explanation = await Asking(world, FIVE_A_MINUTE).why("ada", 6)

    assert not explanation.allowed
    assert explanation.verdict.passes_at is None
    assert explanation.sentences == (
        "'ada' under api is refused: a cost of 6 is above the limit 5/minute, and no wait will change that.",
    )


@pytest.mark.parametrize(
    ("lists", "allowed", "sentence"),
    [
        ({"deny": ("10.0.0.0/8",)}, False, "is always refused: the entry 10.0.0.0/8 of the deny list matches it."),
        ({"allow": ("10.0.0.0/8",)}, True, "is never counted: the entry 10.0.0.0/8 of the allow list matches it."),
    ],
)
async def test_a_key_on_a_list_is_explained_with_the_entry(
    world: StoreWorld, lists: dict[str, Any], allowed: bool, sentence: str
) -> None:
    """For a key on a list the entry that matched is named, and the windows are shown all the same."""
    asking = Asking(world, parse_policy("api", "5/minute", **lists))

    explanation = await asking.why("10.1.2.3")

    assert explanation.allowed is allowed
    assert explanation.access == AccessMatch(rule="allow" if allowed else "deny", entry="10.0.0.0/8")
    assert explanation.sentences == (f"'10.1.2.3' under api {sentence}",)
    assert explanation.verdict.windows[0].remaining == 5


async def test_a_shadow_is_explained_as_if_in_force(world: StoreWorld) -> None:
    """A shadow admits; the explanation names the limit that would refuse, and until when."""
    asking = Asking(world, parse_policy("api", "5/minute", shadow=True))
    await asking.limiter.take("api", "ada", 5)

    explanation = await asking.why("ada")

    assert explanation.allowed
    assert explanation.shadow
    assert not explanation.verdict.admits
    assert explanation.sentences[0].startswith(
        "'ada' under api is admitted, because the policy is a shadow; in force it would be refused: "
        "the limit 5/minute is reached; the same take passes in "
    )


async def test_shadows_of_the_policy_are_explained_too(world: StoreWorld) -> None:
    """Each shadow of the policy is shown with its verdict, and decides nothing."""
    candidate = parse_policy("next", "3/minute", shadow=True, shadow_of="api")
    asking = Asking(world, FIVE_A_MINUTE, candidate, parse_policy("login", "1/minute"))

    explanation = await asking.why("ada", 4)

    assert explanation.allowed
    assert [(one.policy, one.admits, one.refused_by) for one in explanation.shadows] == [("next", False, "3/minute")]
    assert explanation.sentences[1] == (
        "Its shadow next (3/minute): in force it would be refused: a cost of 4 is above the limit "
        "3/minute, and no wait will change that."
    )


async def test_another_limit_is_tried_on_what_is_counted(world: StoreWorld) -> None:
    """Another limit is evaluated on the counters of equal windows, and nothing is changed."""
    asking = Asking(world, FIVE_A_MINUTE)
    await asking.limiter.take("api", "ada", 5)

    explanation = await asking.why("ada", limit="200 per min")
    again = await asking.why("ada")

    assert not explanation.allowed
    assert explanation.what_if is not None
    assert explanation.what_if.admits
    assert [(one.limit, one.used, one.remaining) for one in explanation.what_if.windows] == [("200/minute", 5, 195)]
    assert explanation.uncounted == ()
    assert explanation.sentences[1:] == ("Under 200/minute (sliding-window) it would be admitted.",)
    assert again.what_if is None
    assert again.verdict.windows[0].used == 5


async def test_windows_without_a_counter_are_named(world: StoreWorld) -> None:
    """A window or an algorithm that the policy does not have begins empty, and the explanation says so."""
    asking = Asking(world, FIVE_A_MINUTE)
    await asking.limiter.take("api", "ada", 5)

    hour = await asking.why("ada", limit="3/minute; 10/hour")
    bucket = await asking.why("ada", algorithm="gcra")

    assert hour.what_if is not None
    assert [(one.limit, one.used) for one in hour.what_if.windows] == [("3/minute", 3), ("10/hour", 0)]
    assert hour.sentences[1].startswith("Under 3/minute; 10/hour (sliding-window) it would be refused: the limit 3/min")
    assert hour.sentences[2] == ("Nothing is counted so far for 10/hour: another window or algorithm begins empty.")
    assert bucket.uncounted == ("5/minute",)
    assert bucket.sentences[1] == "Under 5/minute (gcra) it would be admitted."


async def test_a_concurrency_policy_is_explained_by_its_permits(world: StoreWorld) -> None:
    """For a concurrency policy the permits in use are shown, and when the next one is free at the latest."""
    asking = Asking(world, parse_policy("api", "2/30 s", "concurrency"))
    for _ in range(2):
        await asking.limiter.lease("api", "ada")

    explanation = await asking.why("ada")

    assert not explanation.allowed
    assert [(one.used, one.of, one.remaining) for one in explanation.verdict.windows] == [(2, 2, 0)]
    passes = "the same take passes in 30.000 s, at 2027-01-15 12:00:30.000+00:00."
    assert explanation.sentences == (f"'ada' under api is refused: the limit 2/30 seconds is reached; {passes}",)


@pytest.mark.parametrize(
    ("policy", "cost", "limit", "field"),
    [("apj", None, None, "policy"), ("api", None, "5/mn", "policies.api"), ("api", -1, None, "cost")],
)
async def test_invalid_arguments_are_refused(
    world: StoreWorld, policy: str, cost: int | None, limit: str | None, field: str
) -> None:
    """A policy that does not exist, a limit that cannot be read and a cost out of range are refused by name."""
    asking = Asking(world, FIVE_A_MINUTE)

    with pytest.raises(InvalidInput) as refused:
        await examine(asking.make, asking.policies, policy, "ada", cost, clock=lambda: NOON, limit=limit)

    assert refused.value.field == field
