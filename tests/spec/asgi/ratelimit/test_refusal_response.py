"""How a refusal is answered: the status, the problem and its members, by what refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.worlds import StoreWorld
from tollhouse.asgi.ratelimit.headers import RateLimitFields
from tollhouse.asgi.ratelimit.refusal_response import RefusalRenderer, refusal_response
from tollhouse.asgi.response import HttpResponse
from tollhouse.limits.decision import Decision, LimitState, Reason, TakeAllResult
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy

REACHED = LimitState(limit=5, window_ms=60_000, remaining=0, reset_after_ms=60_000)


def decision(reason: Reason, *, policy: str = "api", retry_after_ms: int | None = None, cost: int = 1) -> Decision:
    asked = reason not in ("deny-listed", "outage")
    return Decision(
        allowed=False,
        policy=policy,
        key="ada",
        cost=cost,
        limits=(REACHED,) if asked else (),
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


def test_a_refusal_that_is_repeated_is_rendered_once() -> None:
    """The same refusal under the same policies has the same response, among the latest that fit."""
    policies = {"api": parse_policy("api", "5/minute")}
    renderer = RefusalRenderer(RateLimitFields(), rendered_max=1)
    first, other = decision("limit-reached", retry_after_ms=1_500), decision("limit-reached", retry_after_ms=2_500)

    made = renderer.response(first, policies, (), ())

    assert renderer.response(first, policies, (), ()) is made
    assert renderer.response(first, dict(policies), (), ()) is not made
    assert dict(renderer.response(other, policies, (), ()).headers)[b"retry-after"] == b"3"
    assert renderer.response(first, policies, (), ()) == made
    assert renderer.response(first, policies, [decision("limit-reached", policy="site")], ()) != made
