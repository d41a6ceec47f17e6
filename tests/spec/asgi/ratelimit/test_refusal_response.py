"""How a refusal is answered: the status, the problem and its members, by what refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.headers import DIALECTS, RateLimitFields
from tollhouse.asgi.ratelimit.refusal_response import RefusalRenderer, refusal_response
from tollhouse.asgi.response import HttpResponse
from tollhouse.limits.decision import Decision, LimitState, Reason, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.settings.model import Dialect

REACHED = LimitState(limit=5, window_ms=60_000, remaining=0, reset_after_ms=60_000)


def decision(
    reason: Reason,
    *,
    policy: str = "api",
    retry_after_ms: int | None = None,
    cost: int = 1,
    reset_after_ms: int = REACHED.reset_after_ms,
    remaining: int = 0,
) -> Decision:
    state = replace(REACHED, reset_after_ms=reset_after_ms, remaining=remaining)
    asked = reason not in ("deny-listed", "outage")
    return Decision(
        allowed=False,
        policy=policy,
        key="ada",
        cost=cost,
        limits=(state,) if asked else (),
        retry_after_ms=retry_after_ms,
        refused_by="5/minute" if asked else None,
        degraded=reason == "outage",
        reason=reason,
    )


def response_to(outcome: Decision | TakeAllResult, **arguments: Any) -> HttpResponse:
    return refusal_response(outcome, RateLimitFields().of(outcome), **arguments)


def problem(outcome: Decision | TakeAllResult, **arguments: Any) -> dict[str, Any]:
    return json.loads(response_to(outcome, **arguments).body)


ANSWERS = [
    (decision("limit-reached", retry_after_ms=1_500), 429, "#quota-exceeded", "2"),
    (decision("cost-above-limit"), 422, ":cost-above-limit", None),
    (decision("deny-listed"), 403, ":deny-listed", None),
    (decision("outage"), 503, "#temporary-reduced-capacity", "1"),
    (decision("outage", retry_after_ms=7_000), 503, "#temporary-reduced-capacity", "7"),
]


@pytest.mark.parametrize(("refused", "status", "kind", "retry_after"), ANSWERS)
def test_what_refuses_decides_the_answer(refused: Decision, status: int, kind: str, retry_after: str | None) -> None:
    """A limit is 429, a cost above it 422, a denied key 403, and an outage 503; Retry-After if a wait helps."""
    answer = response_to(refused)

    body = json.loads(answer.body)
    assert (answer.status, body["status"]) == (status, status)
    assert body["type"].endswith(kind)
    assert answer.text_headers().get("retry-after") == retry_after
    assert answer.text_headers()["cache-control"] == "no-store"
    assert body["violated-policies"] == ["api"]


async def test_a_refusal_names_every_limit_that_the_cost_does_not_fit(world: StoreWorld) -> None:
    """`violated-policies` are named as in the RateLimit field; the key is repeated unless told otherwise."""
    policies = {"api": parse_policy("api", "2/minute; 3/hour; 100/day")}
    limits = Limiter(world.stores.limits, policies, world.keyring, world.metrics)
    await limits.take("api", "ada", 2)
    refused = await limits.take("api", "ada", 2)

    told, untold = (problem(refused, reveal_key=reveal) for reveal in (True, False))

    assert told["violated-policies"] == ["api/60", "api/3600"]
    assert all(f'"{name}"' in response_to(refused).text_headers()["ratelimit"] for name in told["violated-policies"])
    assert told["key"] == "ada"
    assert "key" not in untold


def test_of_several_the_most_final_refusal_answers() -> None:
    """Of takes that were decided as one the answer is about the one that no wait, or the longest, will change."""
    short = decision("limit-reached", retry_after_ms=1_000, policy="short")
    long = decision("limit-reached", retry_after_ms=9_000, policy="long")
    bystander = decision("all-or-nothing", policy="bystander")
    dear = decision("cost-above-limit", policy="dear", cost=9)

    waiting = TakeAllResult(allowed=False, decisions=(bystander, short, long), retry_after_ms=9_000)
    hopeless = TakeAllResult(allowed=False, decisions=(short, dear, long), retry_after_ms=None)

    assert "policy long" in problem(waiting)["detail"]
    assert response_to(waiting).text_headers()["retry-after"] == "9"
    assert response_to(hopeless).status == 422
    assert "retry-after" not in response_to(hopeless).text_headers()


def test_takes_that_were_decided_as_one_are_answered_as_one() -> None:
    """The problem has the members of the whole, and of each decision; keys are left out of all of them."""
    refused = decision("limit-reached", retry_after_ms=1_000, policy="user")
    together = TakeAllResult(allowed=False, decisions=(refused, refused), retry_after_ms=1_000)

    body = problem(together, reveal_key=False)

    assert (body["allowed"], body["retry_after_ms"]) == (False, 1_000)
    assert [one["policy"] for one in body["decisions"]] == ["user", "user"]
    assert "ada" not in json.dumps(body)
    assert problem(together)["decisions"][0]["key"] == "ada"


def test_a_refusal_speaks_the_dialect_of_the_application() -> None:
    """The fields are those of the dialect, and of what was decided beside."""
    refused = decision("limit-reached", retry_after_ms=1_000)

    headers = refusal_response(refused, RateLimitFields("x-ratelimit").of(refused, also=[refused])).text_headers()

    assert headers["x-ratelimit-remaining"] == "0"
    assert "ratelimit" not in headers


REFUSALS = st.builds(
    decision,
    st.just("limit-reached"),
    policy=st.sampled_from(["api", "login.v2", "a-9007199254740881"]),
    retry_after_ms=st.one_of(st.none(), st.integers(1, 2**53)),
    cost=st.integers(1, 6),
    reset_after_ms=st.integers(0, 2**53),
    remaining=st.integers(0, 5),
)


@given(st.lists(REFUSALS, max_size=12))
def test_refusals_that_differ_in_their_waits_are_written_as_each_alone(refusals: list[Decision]) -> None:
    """The body of a kind of refusal is rendered once; what it says is what `refusal_response` says of each."""
    policies = {name: parse_policy(name, "5/minute") for name in ("api", "login.v2", "a-9007199254740881")}
    renderer, fields = RefusalRenderer(RateLimitFields(), templates_max=3), RateLimitFields()

    for one in refusals:
        alone = refusal_response(one, fields.of(one, policies), reveal_key=False)

        made = renderer.response(one, policies, (), ())

        assert replace(made, headers=list(made.headers)) == replace(alone, headers=list(alone.headers))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_template_is_of_one_limit_in_the_newest_dialect(dialect: Dialect) -> None:
    """Other dialects, limits that were replaced, shares in an outage and earlier decisions have the whole response."""
    policies = {"api": parse_policy("api", "5/minute")}
    fields = RateLimitFields(dialect)
    renderer = RefusalRenderer(fields)
    refused, other = decision("limit-reached", retry_after_ms=1_500), decision("limit-reached", policy="site")

    for outcome, in_force, also in (
        (refused, policies, ()),
        (refused, {"api": parse_policy("api", "7/minute")}, ()),
        (refused, {}, ()),
        (replace(refused, degraded=True), policies, ()),
        (refused, policies, (other,)),
    ):
        made = renderer.response(outcome, in_force, also, ())

        assert list(made.headers[:-1]) == fields.of(outcome, in_force, also)
        assert made.body == refusal_response(outcome, reveal_key=False).body
