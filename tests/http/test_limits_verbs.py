"""The verbs of the limiter over HTTP, end to end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.http.limited import Limited, limited_on


async def test_a_take_without_a_cost_costs_what_the_policy_says(limits: Limited) -> None:
    """Without a cost, or with null, the policy's own cost is taken; 0 takes nothing."""
    answers = [await limits.on("take", **members) for members in ({}, {"cost": None}, {"cost": 0}, {"cost": 3})]

    assert [answer.json()["cost"] for answer in answers] == [1, 1, 0, 3]
    assert [answer.json()["limits"][0]["remaining"] for answer in answers] == [4, 3, 3, 0]


async def test_take_all_charges_all_or_nothing(limits: Limited) -> None:
    """Takes from several policies and subjects are charged together; the fields list every limit."""
    takes = [{"policy": "tenant", "key": "acme", "cost": 2}, {"policy": "api", "key": "ada"}]

    response = await limits.ask("take-all", {"takes": takes})

    assert response.status_code == 200
    body = response.json()
    assert (body["allowed"], body["retry_after_ms"]) == (True, None)
    assert [decision["policy"] for decision in body["decisions"]] == ["tenant", "api"]
    assert response.headers["ratelimit"].count(";r=") == 3
    assert response.headers["ratelimit-policy"].startswith('"tenant";q=10;w=3600, "api/60";q=5;w=60')
    assert (await limits.left("tenant", "acme"), await limits.left()) == ([8], [4, 7])


async def test_a_refused_take_all_charges_nobody(limits: Limited) -> None:
    """If one take is refused, the response is 429 with all decisions and the longest wait."""
    takes = [{"policy": "tenant", "key": "acme", "cost": 2}, {"policy": "api", "key": "ada"}]
    await limits.on("take", cost=5)

    response = await limits.ask("take-all", {"takes": takes})

    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert [decision["reason"] for decision in body["decisions"]] == ["all-or-nothing", "limit-reached"]
    assert body["violated-policies"] == ["api/60"]
    assert 0 < body["retry_after_ms"] <= 64_000
    assert int(response.headers["retry-after"]) == -(-body["retry_after_ms"] // 1_000)
    assert await limits.left("tenant", "acme") == [10]


async def test_equal_subjects_of_a_take_all_are_summed(limits: Limited) -> None:
    """Two takes of one subject are decided as their sum: 3 and 3 do not fit into 5."""
    take = {"policy": "api", "key": "ada", "cost": 3}

    response = await limits.ask("take-all", {"takes": [take, take]})

    assert response.status_code == 422
    assert response.json()["type"] == "urn:tollhouse:problem:cost-above-limit"
    assert await limits.left() == [5, 8]


async def test_take_up_to_takes_what_there_is(limits: Limited) -> None:
    """`cost` is the number of units that were taken; 429 if there is none."""
    answers = [await limits.on("take-up-to", most=3) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.json()["cost"] for answer in answers[:2]] == [3, 2]
    assert answers[1].headers["ratelimit"].startswith('"api/60";r=0;')
    assert "retry-after" in answers[2].headers


async def test_a_refund_gives_back_what_was_taken_and_no_more(limits: Limited) -> None:
    """`cost` is the number of units that were refunded; a subject that took nothing gets none."""
    await limits.on("take", cost=2)

    answers = [await limits.on("refund", cost=5) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["cost"] for answer in answers] == [2, 0]
    assert await limits.left() == [5, 8]


async def test_reset_forgets_one_subject_under_one_policy(limits: Limited) -> None:
    """Other subjects and policies keep their counters; `reset` is false if nothing was counted."""
    for policy, key in (("api", "ada"), ("api", "bob"), ("tenant", "ada")):
        await limits.on("take", policy, key, cost=2)

    answers = [(await limits.on("reset")).json() for _ in range(2)]

    assert answers == [{"reset": True}, {"reset": False}]
    assert (await limits.left("api", "ada"), await limits.left("api", "bob")) == ([5, 8], [3, 6])
    assert await limits.left("tenant", "ada") == [8]


async def test_what_was_reserved_is_settled_once(limits: Limited) -> None:
    """A reservation holds its estimate; the first settle charges the actual units instead, the second nothing."""
    reserved = (await limits.on("reserve", "tokens", estimate=60)).json()
    held = await limits.left("tokens")

    settled = [(await limits.on("settle", "tokens", id=reserved["id"], actual=25)).json() for _ in range(2)]

    assert reserved["decision"]["allowed"] is True
    assert held == [40]
    assert [answer["settled"] for answer in settled] == [True, False]
    assert await limits.left("tokens") == [75]


async def test_an_overrun_is_charged(limits: Limited) -> None:
    """Units above the estimate are charged too, even above the limit."""
    reserved = (await limits.on("reserve", "tokens", estimate=60)).json()

    settled = (await limits.on("settle", "tokens", id=reserved["id"], actual=130)).json()

    assert settled["settled"] is True
    assert await limits.left("tokens") == [0]


async def test_a_reservation_that_does_not_fit_is_refused_as_a_take_is(limits: Limited) -> None:
    """429 with the members of the decision and the fields; nothing is held."""
    await limits.on("take", "tokens", cost=50)

    response = await limits.on("reserve", "tokens", estimate=60)

    assert response.status_code == 429
    assert response.json()["refused_by"] == "100/hour"
    assert response.headers["ratelimit"].startswith('"tokens";r=50;')
    assert await limits.left("tokens") == [50]


async def test_acquire_waits_for_its_turn(limits: Limited) -> None:
    """A bucket that refills 10 units a second has a unit after 100 ms; the response arrives then."""
    await limits.on("take", "bucket", cost=20)

    response = await limits.on("acquire", "bucket", wait_ms=5_000)

    assert response.status_code == 200
    assert response.json()["allowed"] is True


async def test_acquire_waits_no_longer_than_it_may(limits: Limited) -> None:
    """If there is no room within `wait_ms`, the response is 429 and nothing is taken."""
    await limits.on("take", cost=5)

    response = await limits.on("acquire", wait_ms=50)

    assert response.status_code == 429
    assert response.json()["retry_after_ms"] > 50
    assert await limits.left() == [0, 3]


async def test_a_lease_is_held_until_it_is_released(limits: Limited) -> None:
    """Two permits for three: the third is refused until one is released, which happens once."""
    leases = [await limits.on("lease", "jobs") for _ in range(3)]
    first = leases[0].json()["id"]

    released = [(await limits.on("release", "jobs", id=first)).json() for _ in range(2)]
    again = await limits.on("lease", "jobs")

    assert [lease.status_code for lease in leases] == [200, 200, 429]
    assert leases[0].headers["ratelimit-policy"] == '"jobs";q=2;qu="concurrent-requests"'
    assert leases[2].json()["reason"] == "limit-reached"
    assert released == [{"released": True}, {"released": False}]
    assert again.status_code == 200


async def test_a_lease_may_wait_for_a_permit(limits: Limited) -> None:
    """A waiting client gets a permit that is released meanwhile."""
    held = [(await limits.on("lease", "jobs")).json()["id"] for _ in range(2)]

    waiting = asyncio.create_task(limits.on("lease", "jobs", wait_ms=10_000))
    await limits.on("release", "jobs", id=held[0])
    response = await waiting

    assert response.status_code == 200
    assert response.json()["id"] not in held


async def test_a_lease_is_renewed_while_it_is_held(limits: Limited) -> None:
    """`renewed` is false for a permit that was released, and for one that never was."""
    held = (await limits.on("lease", "jobs")).json()["id"]

    while_held = (await limits.on("renew", "jobs", id=held)).json()
    await limits.on("release", "jobs", id=held)
    after = [(await limits.on("renew", "jobs", id=one)).json() for one in (held, "0" * 32)]

    assert while_held == {"renewed": True}
    assert after == [{"renewed": False}, {"renewed": False}]


async def test_a_denied_key_is_forbidden_and_an_allowed_one_not_counted(limits: Limited) -> None:
    """403 for a key on the deny list, however much is left; a key on the allow list is admitted without a limit."""
    denied = await limits.on("take", "banned", "mallory")
    allowed = [await limits.on("take", "banned", "root", cost=5) for _ in range(2)]

    assert denied.status_code == 403
    assert denied.json()["type"] == "urn:tollhouse:problem:deny-listed"
    assert "retry-after" not in denied.headers
    assert [answer.json()["reason"] for answer in allowed] == ["allow-listed"] * 2


async def test_a_shadow_refuses_nobody(limits: Limited) -> None:
    """A shadow policy responds with 200 and says that it would have refused."""
    answers = [await limits.on("take", "watched") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["reason"] for answer in answers] == ["within-limits", "shadow"]


async def test_a_batch_holds_refusals_of_every_kind(limits: Limited) -> None:
    """A batch is always 200: each take has its own decision, in order."""
    takes = [
        {"policy": "api", "key": "ada", "cost": 5},
        {"policy": "api", "key": "ada"},
        {"policy": "api", "key": "bob", "cost": 6},
        {"policy": "banned", "key": "mallory"},
        {"policy": "bucket", "key": "ada", "cost": 20},
    ]

    response = await limits.ask("take-batch", takes)

    assert response.status_code == 200
    reasons = [decision["reason"] for decision in response.json()]
    assert reasons == ["within-limits", "limit-reached", "cost-above-limit", "deny-listed", "within-limits"]


async def test_policies_are_listed_as_they_are_written(limits: Limited) -> None:
    """GET /v1/limits lists every policy with its canonical text, but without its allow and deny lists."""
    response = await limits.service.ask("GET", "/v1/limits", headers={"X-Api-Key": "a-service-key-for-tests"})

    policies = {policy["name"]: policy for policy in response.json()["policies"]}
    assert list(policies) == sorted(policies)
    assert policies["api"]["text"] == "5/minute; 8/hour"
    assert policies["bucket"]["text"] == "10/second burst 20"
    assert (policies["jobs"]["algorithm"], policies["strict"]["on_outage"]) == ("concurrency", "closed")
    assert policies["watched"]["shadow"] is True
    assert {policy["lease"] for policy in policies.values()} == {"off"}
    assert "mallory" not in response.text


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        ("draft-07", {"ratelimit-policy", "ratelimit"}),
        ("draft-06", {"ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}),
        ("x-ratelimit", {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
        ("off", set()),
    ],
)
async def test_the_fields_are_those_of_the_chosen_dialect(valkey_socket: Path, dialect: str, names: set[str]) -> None:
    """The setting `limits.headers` chooses the fields of responses and refusals; Retry-After is always sent."""
    async with limited_on(valkey_socket, headers=dialect) as limits:
        answers = [await limits.on("take", "tenant", cost=6) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    for answer in answers:
        assert {name for name in answer.headers if "ratelimit" in name} == names
    assert "retry-after" in answers[1].headers
