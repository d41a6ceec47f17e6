"""Heads that are written from a template differ in no byte from those that are written line by line."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.twins import HttpRequest, Line, Messages, Twins, twins
from tollhouse.asgi.ratelimit.headers import DIALECTS
from tollhouse.errors import StoreUnavailable
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings.model import Dialect, PolicySettings

POLICIES = {
    "few": PolicySettings(limit="3/minute"),
    "many": PolicySettings(limit="1000000000/366 days"),
    "bursts": PolicySettings(limit="7/3 seconds burst 20", algorithm="gcra"),
    "counted": PolicySettings(limit="12/hour", algorithm="sliding-window-counter"),
    "logged": PolicySettings(limit="12/hour", algorithm="sliding-log"),
    "fixed": PolicySettings(limit="12/5 minutes", algorithm="fixed-window"),
    "watched": PolicySettings(limit="2/minute", shadow=True),
    "copied": PolicySettings(limit="2/minute", shadow_of="fixed"),
    "leased": PolicySettings(limit="100000/minute", lease="auto"),
    "open": PolicySettings(limit="10/minute", on_outage="open"),
    "listed": PolicySettings(limit="1/minute", allow=("ada",)),
    "two.limits": PolicySettings(limit="5/minute; 8/hour"),
    "a-name_of.64-signs-" + "x" * 45: PolicySettings(limit="9/minute"),
}
LIMITS: dict[str, Any] = {"policies": POLICIES}
KEYS = ("ada", "x" * 512, "Zo\u00eb \U0001f5dd \u2028", '"\\\x00\x1f</', "{ada}%d%b%%")


def take(policy: str, key: str = "ada", cost: int | None = None) -> HttpRequest:
    return HttpRequest(chunks=(json.dumps({"policy": policy, "key": key, "cost": cost}).encode(),))


async def same(both: Twins, *requests: HttpRequest) -> list[Messages]:
    """Return what the service answers; all of it is what the documented handlers answer, and none came from them."""
    pairs = [await both.answers(asked) for asked in requests]

    assert [served for served, _ in pairs] == [documented for _, documented in pairs]
    assert both.served.passed_on == 0
    return [served for served, _ in pairs]


def field(answer: Messages, name: bytes) -> bytes:
    return dict(answer[0]["headers"])[name]


@pytest.fixture(scope="module")
async def lasting() -> AsyncIterator[Twins]:
    async with twins(limits=LIMITS) as made:
        yield made


@pytest.fixture
async def both(lasting: Twins) -> Twins:
    """The twins of all tests of the module, which know of no earlier request."""
    for twin in (lasting.served, lasting.documented):
        await twin.renew()
    return lasting


@pytest.mark.parametrize("policy", POLICIES)
async def test_takes_of_every_kind_of_policy_are_answered_alike(both: Twins, policy: str) -> None:
    """Until units are used up and beyond: admitted with units left and with none, refused, on a list, in shadow."""
    answers = await same(both, *[take(policy)] * 4, take(policy, cost=0), *[take(policy, cost=5)] * 4)

    assert {answer[0]["status"] for answer in answers} <= {200, 422, 429}


async def test_the_last_unit_is_answered_alike(both: Twins) -> None:
    """A take that leaves nothing says so in its head."""
    answers = await same(both, *[take("few")] * 3)

    assert [field(answer, b"ratelimit").partition(b";t=")[0] for answer in answers] == [
        b'"few";r=2',
        b'"few";r=1',
        b'"few";r=0',
    ]


@pytest.mark.parametrize("key", KEYS)
async def test_any_key_is_answered_alike(both: Twins, key: str) -> None:
    """The longest keys, and keys that JSON escapes: the length in the head is that of the body in bytes."""
    (answer,) = await same(both, take("few", key))

    assert json.loads(answer[1]["body"])["key"] == key
    assert int(field(answer, b"content-length")) == len(answer[1]["body"])


EXAMPLES = itertools.count()


@given(
    takes=st.lists(
        st.tuples(
            st.sampled_from(["few", "many", "bursts", "fixed"]),
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
            st.none() | st.sampled_from([0, 1, 9, 10, 99, 100, 12_345, 10**9 - 1, 10**9]),
        ),
        max_size=6,
    )
)
async def test_numbers_of_any_width_are_answered_alike(
    lasting: Twins, takes: list[tuple[str, str, int | None]]
) -> None:
    """Takes of few and of very many units, one after the other.

    No key is one of an earlier example: what is stored of it may end in real time between the two answers.
    """
    example = next(EXAMPLES)

    await same(lasting, *(take(policy, f"{example} {key}", cost) for policy, key, cost in takes))


# x-ratelimit-epoch contains the wall-clock time, which differs between the two requests.
@pytest.mark.parametrize("dialect", [dialect for dialect in DIALECTS if dialect != "x-ratelimit-epoch"])
async def test_every_dialect_is_answered_alike(dialect: Dialect) -> None:
    """What has one limit in draft-11 is written from a template, and nothing in the other dialects."""
    async with twins(limits={**LIMITS, "headers": dialect}) as speaking:
        await same(speaking, *(take(policy) for policy in ("few", "bursts", "two.limits", "few") for _ in range(2)))


async def test_a_reload_is_answered_alike() -> None:
    """A policy that is replaced is told with its new limit, and with the old one again after the next reload."""
    quotas: list[bytes] = []
    async with twins(limits=LIMITS) as own:
        before = own.served.tollhouse.policies
        several, single = ({"few": parse_policy("few", text)} for text in ("9/minute; 90/hour", "30/hour"))
        for policies in (before, several, single, before):
            for twin in (own.served, own.documented):
                twin.tollhouse.limits.replace_policies(policies)
            (answer,) = await same(own, take("few"))
            quotas.append(field(answer, b"ratelimit-policy"))

    assert quotas == [b'"few";q=3;w=60', b'"few/60";q=9;w=60, "few/3600";q=90;w=3600', b'"few";q=30;w=3600', quotas[0]]


async def test_a_take_that_a_reload_overtakes_is_answered_alike() -> None:
    """What the replaced limit decided is told with its numbers, and the next take with those of the new one."""
    found: list[list[bytes]] = []
    async with twins(limits=LIMITS) as own:
        for twin in (own.served, own.documented):
            line = Line(twin.config)
            twin.store.gate.clear()
            await line.receive(take("few").segments[0])
            while not twin.store.calls:
                await line.receive(b"")
            twin.tollhouse.limits.replace_policies({"few": parse_policy("few", "30/hour")})
            twin.store.gate.set()
            await line.rest()
            await line.send(take("few").segments)
            found.append(line.wire.writes)
            await line.end()

    assert found[0] == found[1]
    assert [b"q=3;w=60" in found[0][0], b"q=30;w=3600" in found[0][1]] == [True, True]


async def test_shares_in_an_outage_are_answered_alike() -> None:
    """During an outage the head has the share of the process, and the limit again afterwards."""
    quotas: list[bytes] = []
    async with twins(limits={**LIMITS, "instances": 3}) as own:
        for failure in (StoreUnavailable("limits", "not-sent", "no connection"), None):
            for twin in (own.served, own.documented):
                twin.store.failure = failure
            answers = await same(own, take("counted"), take("open"), take("counted"))
            quotas.append(field(answers[2], b"ratelimit-policy"))

    assert quotas == [b'"counted";q=4;w=3600', b'"counted";q=12;w=3600']


async def test_a_namespace_is_answered_alike() -> None:
    """A namespace stands in the names of the store, and in no response."""
    async with twins(limits=LIMITS, namespace="shop") as named:
        await same(named, *[take("few")] * 4)


async def test_pipelined_takes_of_several_policies_are_answered_alike(both: Twins) -> None:
    """Each response on a connection is that of its own request."""
    requests = [take("few"), take("many", cost=1_000), take("bursts"), take("few", "bob"), take("two.limits")]

    served, documented = await both.exchanges([b"".join(one.segments[0] for one in requests)])

    assert served == documented
    assert len([one for one in served if one["type"] == "start"]) == len(requests)
