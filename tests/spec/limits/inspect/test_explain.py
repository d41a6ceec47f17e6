"""Why a key is refused: sentences, times and windows from what the limiter answers."""

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
    """A limiter over some policies, and the question why."""

    def __init__(self, world: StoreWorld, *policies: Policy) -> None:
        self.world = world
        self.policies: Mapping[str, Policy] = {policy.name: policy for policy in policies}
        self.limiter = self.make(self.policies)

    def make(self, policies: Mapping[str, Policy]) -> Limiter:
        return Limiter(self.world.stores.limits, policies, self.world.keyring, self.world.metrics)

    async def why(self, key: str, cost: int | None = None, **other: Any) -> Explanation:
        return await examine(self.make, self.policies, "api", key, cost, clock=lambda: NOON, **other)


async def test_an_admitted_key_is_told_how_its_windows_stand(world: StoreWorld) -> None:
    """A key that is admitted is told what it used of each window, what is left, and when all of it is back."""
    asking = Asking(world, parse_policy("api", "5/minute; 100/hour"))
    await asking.limiter.take("api", "ada", 2)

    told = await asking.why("ada")

    assert told.allowed
    assert told.sentences == ("'ada' under api is admitted: every limit has room for 1 unit.",)
    assert [(one.limit, one.used, one.of, one.remaining) for one in told.verdict.windows] == [
        ("5/minute", 2, 5, 3),
        ("100/hour", 2, 100, 98),
    ]
    assert all(one.restored_after_ms > 0 for one in told.verdict.windows)
    assert told.verdict.windows[0].restored_at.startswith("2027-01-15 12:01:0")


async def test_a_refused_key_is_told_by_which_limit_and_until_when(world: StoreWorld) -> None:
    """A refusal names the limit, the wait in seconds, and the local time at which the same take passes."""
    asking = Asking(world, FIVE_A_MINUTE)
    await asking.limiter.take("api", "ada", 5)

    told = await asking.why("ada", 2)

    wait_ms = told.verdict.retry_after_ms
    assert wait_ms is not None
    assert not told.allowed
    assert told.verdict.refused_by == "5/minute"
    passes = f"the same take passes in {wait_ms / 1000:.3f} s, at {told.verdict.passes_at}."
    assert told.sentences == (f"'ada' under api is refused: the limit 5/minute is reached; {passes}",)
    assert str(told.verdict.passes_at).startswith("2027-01-15 12:01:0")
    await world.advance(wait_ms - 1)
    assert not (await asking.why("ada", 2)).allowed
    await world.advance(1)
    assert (await asking.why("ada", 2)).sentences == ("'ada' under api is admitted: every limit has room for 2 units.",)


async def test_a_cost_above_the_limit_is_told_that_no_wait_helps(world: StoreWorld) -> None:
    """A take that can never pass is told so, with no time."""
    told = await Asking(world, FIVE_A_MINUTE).why("ada", 6)

    assert not told.allowed
    assert told.verdict.passes_at is None
    assert told.sentences == (
        "'ada' under api is refused: a cost of 6 is above the limit 5/minute, and no wait will change that.",
    )


@pytest.mark.parametrize(
    ("lists", "allowed", "sentence"),
    [
        ({"deny": ("10.0.0.0/8",)}, False, "is always refused: the entry 10.0.0.0/8 of the deny list matches it."),
        ({"allow": ("10.0.0.0/8",)}, True, "is never counted: the entry 10.0.0.0/8 of the allow list matches it."),
    ],
)
async def test_a_listed_key_is_told_the_entry(
    world: StoreWorld, lists: dict[str, Any], allowed: bool, sentence: str
) -> None:
    """A key on a list is told the entry that decides, and its windows are shown all the same."""
    asking = Asking(world, parse_policy("api", "5/minute", **lists))

    told = await asking.why("10.1.2.3")

    assert told.allowed is allowed
    assert told.access == AccessMatch(rule="allow" if allowed else "deny", entry="10.0.0.0/8")
    assert told.sentences == (f"'10.1.2.3' under api {sentence}",)
    assert told.verdict.windows[0].remaining == 5


async def test_a_shadow_is_told_what_it_would_do_in_force(world: StoreWorld) -> None:
    """A shadow admits, and the limit that would refuse, and until when, is told."""
    asking = Asking(world, parse_policy("api", "5/minute", shadow=True))
    await asking.limiter.take("api", "ada", 5)

    told = await asking.why("ada")

    assert told.allowed
    assert told.shadow
    assert not told.verdict.admits
    assert told.sentences[0].startswith(
        "'ada' under api is admitted, because the policy is a shadow; in force it would be refused: "
        "the limit 5/minute is reached; the same take passes in "
    )


async def test_a_policy_that_runs_beside_is_told_too(world: StoreWorld) -> None:
    """Each shadow of the policy is shown with its verdict, and decides nothing."""
    candidate = parse_policy("next", "3/minute", shadow=True, shadow_of="api")
    asking = Asking(world, FIVE_A_MINUTE, candidate, parse_policy("login", "1/minute"))

    told = await asking.why("ada", 4)

    assert told.allowed
    assert [(one.policy, one.admits, one.refused_by) for one in told.shadows] == [("next", False, "3/minute")]
    assert told.sentences[1] == (
        "Its shadow next (3/minute): in force it would be refused: a cost of 4 is above the limit "
        "3/minute, and no wait will change that."
    )


async def test_another_limit_is_tried_on_what_is_counted(world: StoreWorld) -> None:
    """What if the limit were Y: the counters of an equal window carry over, and nothing is changed."""
    asking = Asking(world, FIVE_A_MINUTE)
    await asking.limiter.take("api", "ada", 5)

    told = await asking.why("ada", limit="200 per min")
    again = await asking.why("ada")

    assert not told.allowed
    assert told.what_if is not None
    assert told.what_if.admits
    assert [(one.limit, one.used, one.remaining) for one in told.what_if.windows] == [("200/minute", 5, 195)]
    assert told.uncounted == ()
    assert told.sentences[1:] == ("Under 200/minute (sliding-window) it would be admitted.",)
    assert again.what_if is None
    assert again.verdict.windows[0].used == 5


async def test_windows_that_count_nothing_yet_are_named(world: StoreWorld) -> None:
    """A window or an algorithm that the policy does not have begins empty, and it is told that it does."""
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


async def test_a_policy_of_leases_is_explained_by_its_permits(world: StoreWorld) -> None:
    """Of leases it is told how many permits are held, and when the next one ends at the latest."""
    asking = Asking(world, parse_policy("api", "2/30 s", "concurrency"))
    for _ in range(2):
        await asking.limiter.lease("api", "ada")

    told = await asking.why("ada")

    assert not told.allowed
    assert [(one.used, one.of, one.remaining) for one in told.verdict.windows] == [(2, 2, 0)]
    passes = "the same take passes in 30.000 s, at 2027-01-15 12:00:30.000+00:00."
    assert told.sentences == (f"'ada' under api is refused: the limit 2/30 seconds is reached; {passes}",)


@pytest.mark.parametrize(
    ("policy", "cost", "limit", "field"),
    [("apj", None, None, "policy"), ("api", None, "5/mn", "policies.api"), ("api", -1, None, "cost")],
)
async def test_what_cannot_be_asked_is_refused(
    world: StoreWorld, policy: str, cost: int | None, limit: str | None, field: str
) -> None:
    """A policy that does not exist, a limit that cannot be read and a cost out of range are refused by name."""
    asking = Asking(world, FIVE_A_MINUTE)

    with pytest.raises(InvalidInput) as refused:
        await examine(asking.make, asking.policies, policy, "ada", cost, clock=lambda: NOON, limit=limit)

    assert refused.value.field == field
