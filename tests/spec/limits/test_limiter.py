"""The limiter on a store: take, peek and reset, through the scripts limits/take, limits/peek and limits/reset."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.worlds import StoreWorld
from tollhouse.errors import InvalidInput
from tollhouse.limits.decision import Decision, LimitState, Take
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.catalog import BUILT_IN
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.limits.policy.policy import Limit, Policy

POLICIES = {
    "api": parse_policy("api", "5/minute; 8/hour"),
    "jobs": parse_policy("jobs", "2/minute", "concurrency"),
    "hundred": parse_policy("hundred", "100/minute"),
    "ten": Policy(name="ten", limits=(Limit(units=10, window_ms=60_000, resolution=4),)),
    **{name: BUILT_IN[name] for name in ("default", "wrong-key")},
}


@pytest.fixture
def limits(world: StoreWorld) -> Limiter:
    return Limiter(world.stores.limits, POLICIES, world.keyring, world.metrics)


def counted(world: StoreWorld, policy: str, outcome: str) -> float:
    labels = {"policy": policy, "outcome": outcome}
    return world.metrics.registry.get_sample_value("tollhouse_ratelimit_decisions_total", labels) or 0


async def test_a_take_is_answered_with_a_decision(limits: Limiter) -> None:
    """A decision has the request, whether it was admitted, and the status of every limit (C-6, S2-26)."""
    decision = await limits.take("default", "ada", 3)

    assert decision == Decision(
        allowed=True,
        policy="default",
        key="ada",
        cost=3,
        limits=(
            LimitState(limit=60, window_ms=60_000, remaining=57, reset_after_ms=63_750),
            LimitState(limit=1_000, window_ms=3_600_000, remaining=997, reset_after_ms=3_825_000),
            LimitState(limit=10_000, window_ms=86_400_000, remaining=9_997, reset_after_ms=90_000_000),
        ),
        retry_after_ms=None,
        refused_by=None,
        degraded=False,
    )


async def test_a_decision_is_plain_json(limits: Limiter) -> None:
    """A decision encodes to exactly the members of the HTTP interface, in their order."""
    for _ in range(6):
        decision = await limits.take("api", "ada")

    assert msgspec.json.encode(decision) == (
        b'{"allowed":false,"policy":"api","key":"ada","cost":1,"limits":['
        b'{"limit":5,"window_ms":60000,"remaining":0,"reset_after_ms":63750},'
        b'{"limit":8,"window_ms":3600000,"remaining":3,"reset_after_ms":3825000}],'
        b'"retry_after_ms":63750,"refused_by":"5/minute","degraded":false,"reason":"limit-reached","leased":false}'
    )


async def test_a_cost_of_nothing_looks(world: StoreWorld, limits: Limiter) -> None:
    """A cost of 0 is always allowed, reports the status of the limits and writes nothing."""
    await limits.take("hundred", "ada", 100)

    looked = await limits.take("hundred", "ada", 0)
    fresh = await limits.take("hundred", "bob", 0)

    assert (looked.allowed, looked.limits[0].remaining) == (True, 0)
    assert (fresh.allowed, fresh.limits[0].remaining, fresh.limits[0].reset_after_ms) == (True, 100, 0)
    assert await world.command("limits", "DBSIZE") == 1


async def test_a_peek_decides_and_changes_nothing(world: StoreWorld, limits: Limiter) -> None:
    """A peek returns the decision that a take of this cost would get now, and takes nothing."""
    await limits.take("ten", "ada", 7)

    fits, above, never = [await limits.peek("ten", "ada", cost) for cost in (3, 4, 11)]
    again = await limits.take("ten", "ada", 3)

    assert (fits.allowed, fits.limits[0].remaining, fits.retry_after_ms) == (True, 3, None)
    assert (above.allowed, above.limits[0].remaining, above.retry_after_ms) == (False, 3, 75_000)
    assert (never.allowed, never.retry_after_ms, never.refused_by) == (False, None, "10/minute")
    assert again.allowed


async def test_a_reset_forgets(limits: Limiter) -> None:
    """A reset gives one subject all units of one policy back, and returns whether there was anything to delete."""
    await limits.take("api", "ada", 5)
    await limits.take("wrong-key", "ada", 10)
    await limits.take("api", "bob", 5)

    assert [await limits.reset("api", "ada"), await limits.reset("api", "ada")] == [True, False]

    assert (await limits.take("api", "ada")).allowed
    assert not (await limits.take("wrong-key", "ada")).allowed
    assert not (await limits.take("api", "bob")).allowed


@pytest.mark.parametrize(
    ("policy", "key", "cost", "field", "remedy"),
    [
        ("ap", "ada", 1, "policy", "did you mean 'api'? Known are api, default, hundred, jobs, ten, wrong-key"),
        ("zzz", "ada", 1, "policy", "known are api, default, hundred, jobs, ten, wrong-key"),
        ("x" * 1_000_000, "ada", 1, "policy", "known are api, default, hundred, jobs, ten, wrong-key"),
        ("api", "", 1, "key", "give 1 to 512 characters"),
        ("api", "x" * 513, 1, "key", "give 1 to 512 characters"),
        ("api", "\ud800", 1, "key", "send text that UTF-8 can encode"),
        ("api", "{\ud800}", 1, "key", "send text that UTF-8 can encode"),
        ("api", "ada", -1, "cost", "give a whole number from 0 to 1,000,000,000"),
        ("api", "ada", 1_000_000_001, "cost", "give a whole number from 0 to 1,000,000,000"),
        ("api", "ada", True, "cost", "give a whole number from 0 to 1,000,000,000"),
        ("api", "ada", 1.0, "cost", "give a whole number from 0 to 1,000,000,000"),
    ],
)
async def test_wrong_input_is_named_with_its_remedy(
    world: StoreWorld, limits: Limiter, policy: str, key: str, cost: Any, field: str, remedy: str
) -> None:
    """An unknown policy and a key or cost out of bounds are refused by name, before anything is sent."""
    with pytest.raises(InvalidInput) as caught:
        await limits.take(policy, key, cost)
    assert (caught.value.field, caught.value.remedy) == (field, remedy)
    assert caught.value.kind == ("unknown-policy" if field == "policy" else "invalid-input")

    with pytest.raises(InvalidInput) as caught:
        await limits.take_batch([Take(policy="api", key="ada"), Take(policy=policy, key=key, cost=cost)])
    assert caught.value.field == f"takes[1].{field}"
    with pytest.raises(InvalidInput):
        await limits.peek(policy, key, cost)
    assert await world.command("limits", "DBSIZE") == 0


async def test_a_wrong_key_is_not_repeated(limits: Limiter) -> None:
    """P10: the error about a wrong key has its size and not the key, which can be a name or an address."""
    with pytest.raises(InvalidInput) as caught:
        await limits.take("api", "ada@example.com" * 100)

    assert str(caught.value) == "key: '1500 characters': give 1 to 512 characters"


NO_TEXT = [7, 1.5, True, b"ada", None, uuid.UUID(int=7), ["ada"], {"key": "ada"}]


@pytest.mark.parametrize("key", NO_TEXT)
async def test_a_key_that_is_no_text_is_named_with_its_type(limits: Limiter, key: Any) -> None:
    """A key is text: any other value is InvalidInput that names the field and the type, in every verb."""
    calls: dict[str, Callable[[], Any]] = {
        "key": lambda: limits.take("api", key),
        "takes[0].key": lambda: limits.take_all([Take(policy="api", key=key)]),
        "takes[1].key": lambda: limits.take_batch([Take(policy="api", key="ada"), Take(policy="api", key=key)]),
    }
    verbs = [*calls.items(), ("key", lambda: limits.reset("api", key)), ("key", lambda: limits.lease("jobs", key))]

    for field, call in verbs:
        with pytest.raises(InvalidInput) as refused:
            await call()
        assert (refused.value.field, refused.value.value) == (field, type(key).__name__)


@pytest.mark.parametrize("policy", [7, None, ["api"]])
async def test_a_policy_that_is_no_text_is_named_with_its_type(limits: Limiter, policy: Any) -> None:
    """A policy goes by its name, which is text."""
    with pytest.raises(InvalidInput) as refused:
        await limits.take(policy, "ada")

    assert (refused.value.field, refused.value.value) == ("policy", type(policy).__name__)


@pytest.mark.parametrize("given", [7, None, b"0" * 32])
async def test_an_id_that_is_no_text_is_unknown(limits: Limiter, given: Any) -> None:
    """An id that is no text is that of no permit and of no reservation."""
    assert await limits.release("jobs", "ada", given) is False
    with pytest.raises(InvalidInput) as refused:
        await limits.settle("api", "ada", given, 1)
    assert refused.value.field == "id"


async def test_any_printable_or_other_key_will_do(limits: Limiter) -> None:
    """A key is any text of 1 to 512 characters: spaces, colons, control characters and braces included."""
    texts = ["a", "x" * 512, "a b\n\0", "{", "}", "{}", "{a}", "a{b}c", "a:b", "ä", "€"]

    for text in texts:
        assert (await limits.take("ten", text)).limits[0].remaining == 9, text


async def test_decisions_are_counted(world: StoreWorld, limits: Limiter) -> None:
    """Every take is counted under its policy and outcome; a peek is not a take."""
    await limits.take("api", "ada", 5)
    await limits.take_batch([Take(policy="api", key="ada"), Take(policy="api", key="bob"), Take(policy="ten", key="x")])
    await limits.peek("api", "ada")

    assert counted(world, "api", "allowed") == 2
    assert counted(world, "api", "refused") == 1
    assert counted(world, "ten", "allowed") == 1


async def test_policies_can_be_listed(limits: Limiter) -> None:
    """The limiter lists its policies, and they cannot be changed through that list."""
    assert dict(limits.policies) == POLICIES

    with pytest.raises(TypeError):
        limits.policies["more"] = POLICIES["api"]
