"""Limits over HTTP: invalid input, authorization, and outages."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import convert

from tests.http.client import ADMIN, SERVICE, service_at
from tests.http.limited import Limited, limited_at
from tests.processes import gone_within
from tollhouse.http.limits.openapi import RefusedTake, RefusedTakeAll
from tollhouse.http.openapi import FieldProblem, ProblemDetails
from tollhouse.limits.calls.waiting import WAIT_MS_MAX
from tollhouse.settings.model import LimitSettings, PolicySettings
from tollhouse.stores.embedded.server import EmbeddedServer

ONE = {"policy": "api", "key": "ada"}
DENIED = ("banned", "mallory")
VERBS: dict[str, Any] = {
    "take": ONE,
    "take-batch": [ONE],
    "take-all": {"takes": [ONE]},
    "take-up-to": {**ONE, "most": 1},
    "acquire": {**ONE, "wait_ms": 0},
    "peek": ONE,
    "refund": ONE,
    "reset": ONE,
    "reserve": {**ONE, "estimate": 1},
    "settle": {**ONE, "id": "0" * 32, "actual": 1},
    "lease": {"policy": "jobs", "key": "ada"},
    "renew": {"policy": "jobs", "key": "ada", "id": "0" * 32},
    "release": {"policy": "jobs", "key": "ada", "id": "0" * 32},
}


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_needs_a_service_key(limits: Limited, verb: str) -> None:
    """401 for an anonymous client, 403 for a user's session; a service and an administrator are allowed."""
    await limits.service.sign_up()
    session = await limits.service.log_in()
    headers = [{}, session, SERVICE, ADMIN]

    answers = [
        await limits.service.ask("POST", f"/v1/limits/{verb}", json=VERBS[verb], headers=given) for given in headers
    ]

    assert [answer.status_code for answer in answers] == [401, 403, 200, 200]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_member_too_many_or_too_few_is_400(limits: Limited, verb: str) -> None:
    """A body of another shape is 400 problem details that name the field and the mistake."""
    body = VERBS[verb]
    wrapped = {"take-batch": lambda one: [one], "take-all": lambda one: {"takes": [one]}}.get(verb, lambda one: one)
    inner = ONE if verb in ("take-batch", "take-all") else body

    too_many = await limits.ask(verb, wrapped({**inner, "colour": "red"}))
    too_few = await limits.ask(verb, wrapped({name: value for name, value in inner.items() if name != "key"}))

    for answer, named in ((too_many, "colour"), (too_few, "key")):
        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:tollhouse:problem:invalid-request"
        assert named in answer.json()["remedy"]


#   verb, members of the wrong type, field
WRONG_TYPES = [
    ("take", {"policy": 7}, "policy"),
    ("take", {"key": ["ada"]}, "key"),
    ("take", {"key": None}, "key"),
    ("take", {"cost": 1.5}, "cost"),
    ("take", {"cost": True}, "cost"),
    ("take-up-to", {"most": "many"}, "most"),
    ("acquire", {"wait_ms": None}, "wait_ms"),
    ("reserve", {"estimate": {}}, "estimate"),
    ("reserve", {"hold_ms": 0.5}, "hold_ms"),
    ("settle", {"id": 5}, "id"),
    ("take-all", {"takes": ONE}, "takes"),
]


@pytest.mark.parametrize(("verb", "members", "field"), WRONG_TYPES)
async def test_a_member_of_another_type_is_400(limits: Limited, verb: str, members: dict[str, Any], field: str) -> None:
    """The field that has another type is named."""
    response = await limits.ask(verb, {**VERBS[verb], **members})

    assert response.status_code == 400
    assert response.json()["field"] == field


#   verb, members of the wrong type, remedy
JSON_TYPES = [
    ("take", {"cost": "1"}, "Expected `integer | null`, got `string`"),
    ("take-up-to", {"most": "1"}, "Expected `integer`, got `string`"),
    ("take-all", {"takes": [{**ONE, "cost": "1"}]}, "Expected `integer | null`, got `string`"),
    ("take", {"cost": "one"}, "Expected `integer | null`, got `string`"),
    ("take", {"cost": {}}, "Expected `integer | null`, got `object`"),
    ("take", {"cost": 1.5}, "Expected `integer | null`, got `number`"),
    ("take", {"policy": 7}, "Expected `string`, got `integer`"),
    ("take", {"key": True}, "Expected `string`, got `boolean`"),
    ("take", {"key": None}, "Expected `string`, got `null`"),
    ("take-up-to", {"most": []}, "Expected `integer`, got `array`"),
    ("take", {"int": 1}, "Object contains unknown field `int`; known are policy, key, cost"),
    ("take", {"Cost": 1}, "Object contains unknown field `Cost`; did you mean 'cost'? Known are policy, key, cost"),
    (
        "take-all",
        {"takes": [{**ONE, "cst": 1}]},
        "Object contains unknown field `cst`; did you mean 'cost'? Known are policy, key, cost",
    ),
    (
        "take-all",
        {"takes": [], "take": []},
        "Object contains unknown field `take`; did you mean 'takes'? Known are takes",
    ),
]


@pytest.mark.parametrize(("verb", "members", "remedy"), JSON_TYPES)
async def test_types_have_the_names_of_json(limits: Limited, verb: str, members: dict[str, Any], remedy: str) -> None:
    """The remedy for a member of another type speaks of JSON's types, not of Python's; names of members are kept."""
    response = await limits.ask(verb, {**VERBS[verb], **members})

    assert response.status_code == 400
    assert response.json()["remedy"] == remedy


async def test_a_number_without_a_fraction_is_an_integer(limits: Limited) -> None:
    """JSON has one type of numbers: 2.0 is as good as 2, and nothing else is read as a number."""
    whole = await limits.ask("take", {**ONE, "cost": 2.0})
    text = await limits.ask("take", {**ONE, "cost": "2"})

    assert (whole.status_code, text.status_code) == (200, 400)
    assert text.json()["field"] == "cost"
    assert await limits.left() == [3, 6]


#   verb, members out of bounds, field
OUT_OF_BOUNDS = [
    ("take", {"key": ""}, "key"),
    ("take", {"key": "x" * 513}, "key"),
    ("take", {"cost": -1}, "cost"),
    ("take", {"cost": 1_000_000_001}, "cost"),
    ("take", {"cost": 10**30}, "cost"),
    ("peek", {"cost": -1}, "cost"),
    ("refund", {"cost": -1}, "cost"),
    ("take-up-to", {"most": -1}, "most"),
    ("acquire", {"wait_ms": -1}, "wait_ms"),
    ("acquire", {"wait_ms": WAIT_MS_MAX + 1}, "wait_ms"),
    ("acquire", {"cost": -1}, "cost"),
    ("reserve", {"estimate": -1}, "estimate"),
    ("reserve", {"hold_ms": 0}, "hold_ms"),
    ("reserve", {"hold_ms": 10**12}, "hold_ms"),
    ("settle", {"actual": -1}, "actual"),
    ("settle", {"id": "x" * 1_000}, "id"),
    ("lease", {"wait_ms": WAIT_MS_MAX + 1}, "wait_ms"),
    ("take", {"policy": "jobs"}, "policy"),
    ("lease", {"policy": "api"}, "policy"),
    ("take-all", {"takes": []}, "takes"),
    ("take-all", {"takes": [ONE] * 65}, "takes"),
    ("take-all", {"takes": [ONE, {**ONE, "cost": -1}]}, "takes[1].cost"),
]


@pytest.mark.parametrize(("verb", "members", "field"), OUT_OF_BOUNDS)
async def test_a_value_out_of_bounds_is_422(limits: Limited, verb: str, members: dict[str, Any], field: str) -> None:
    """The field, the value and the remedy are named, and nothing is taken."""
    response = await limits.ask(verb, {**VERBS[verb], **members})

    assert response.status_code == 422
    body = response.json()
    assert body["field"] == field
    assert body["remedy"]
    assert await limits.left() == [5, 8]


@pytest.mark.parametrize(("verb", "policy"), [("acquire", "api"), ("lease", "jobs")])
async def test_a_wait_may_be_as_long_as_in_the_library(limits: Limited, verb: str, policy: str) -> None:
    """`wait_ms` has the same bound over HTTP as in the library."""
    response = await limits.on(verb, policy, wait_ms=WAIT_MS_MAX)

    assert response.status_code == 200


async def test_a_batch_is_bounded_and_checked_before_anything_is_taken(limits: Limited) -> None:
    """257 takes are 422; one invalid take makes the whole batch 422, and nothing is taken."""
    long = await limits.ask("take-batch", [ONE] * 257)
    bad = await limits.ask("take-batch", [ONE, {"policy": "apu", "key": "ada"}])
    full = await limits.ask("take-batch", [{**ONE, "cost": 0}] * 256)

    assert (long.status_code, long.json()["field"]) == (422, "takes")
    assert (bad.status_code, bad.json()["field"]) == (422, "takes[1].policy")
    assert "did you mean 'api'" in bad.json()["remedy"]
    assert (full.status_code, len(full.json())) == (200, 256)
    assert await limits.left() == [5, 8]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("take-batch", "take-all")])
async def test_an_unknown_policy_is_422_with_what_was_meant(limits: Limited, verb: str) -> None:
    """Every verb suggests the policy that was probably meant, and lists the policies."""
    near = {"lease": "jobz", "renew": "jobz", "release": "jobz"}.get(verb, "appi")

    response = await limits.ask(verb, {**VERBS[verb], "policy": near})

    assert response.status_code == 422
    body = response.json()
    assert body["type"] == "urn:tollhouse:problem:unknown-policy"
    assert (body["field"], body["value"]) == ("policy", near)
    assert "did you mean" in body["remedy"]


async def test_a_key_is_in_no_log(limits: Limited, caplog: pytest.LogCaptureFixture) -> None:
    """Keys can be names or addresses: neither takes nor refusals nor bad requests log them."""
    with caplog.at_level(logging.DEBUG):
        await limits.on("take", key="someone-secret", cost=5)
        await limits.on("take", key="someone-secret", cost=5)
        await limits.on("take", "appi", key="someone-secret")
        await limits.on("take", key="someone-secret" * 50)

    assert "someone-secret" not in caplog.text


async def test_problems_are_as_the_schema_documents_them(limits: Limited) -> None:
    """Each problem has the members of its documented type, no more and no fewer."""
    await limits.on("take", cost=5)
    answers = {
        FieldProblem: [await limits.on("take", "appi"), await limits.on("take", cost=-1)],
        ProblemDetails: [await limits.service.ask("POST", "/v1/limits/take", json=ONE)],
        RefusedTake: [
            await limits.on("take"),
            await limits.on("take", cost=9),
            await limits.on("take", "banned", "mallory"),
        ],
        RefusedTakeAll: [await limits.ask("take-all", {"takes": [ONE]})],
    }

    for documented, responses in answers.items():
        for response in responses:
            body = response.json()
            assert response.status_code == convert(body, documented).status
            assert set(body) == set(documented.__struct_encode_fields__)


async def test_the_schema_tells_of_every_verb(limits: Limited) -> None:
    """Every verb is documented with its body, an example, its response and its problems."""
    schema = (await limits.service.ask("GET", "/schema")).json()

    for verb in VERBS:
        operation = schema["paths"][f"/v1/limits/{verb}"]["post"]
        assert operation["description"]
        assert {"200", "400", "401", "403", "422", "503"} <= set(operation["responses"])
        assert operation["requestBody"]["content"]["application/json"]["schema"]
    refused = schema["paths"]["/v1/limits/take"]["post"]["responses"]["429"]["content"]["application/problem+json"]
    (shown,) = refused["examples"].values()
    assert set(shown["value"]) == set(RefusedTake.__struct_encode_fields__)
    assert "RateLimit" in schema["paths"]["/v1/limits/take"]["post"]["responses"]["200"]["headers"]


@pytest.fixture
async def orphaned() -> AsyncIterator[Limited]:
    """A service whose server was killed after one request."""
    server = EmbeddedServer.start()
    async with limited_at(server.url) as limited:
        await limited.on("take")
        info = await limited.service.tollhouse.stores.limits.info("server")
        pid = int(info["process_id"])
        os.kill(pid, signal.SIGKILL)
        assert gone_within({pid})
        yield limited
    server.stop()


async def test_without_a_store_takes_are_counted_in_the_process(orphaned: Limited) -> None:
    """P8: under `local` the answer is 200 `degraded` until the limit is reached, then 429; batches too."""
    answers = [await orphaned.on("take", cost=3) for _ in range(2)]
    batch = await orphaned.ask("take-batch", [{**ONE, "key": "bob"}] * 6)

    assert [answer.status_code for answer in answers] == [200, 429]
    assert all(answer.json()["degraded"] for answer in answers)
    assert "retry-after" in answers[1].headers
    assert [decision["allowed"] for decision in batch.json()] == [True] * 5 + [False]


async def test_without_a_store_a_policy_may_admit_or_refuse(orphaned: Limited) -> None:
    """P8: `open` is 200 without a limit; `closed` is 503 with Retry-After and the decision's members."""
    lenient = [await orphaned.on("take", "lenient") for _ in range(7)]
    strict = await orphaned.on("take", "strict")

    assert {answer.status_code for answer in lenient} == {200}
    assert {answer.json()["reason"] for answer in lenient} == {"outage"}
    assert strict.status_code == 503
    assert strict.headers["retry-after"] == "1"
    body = strict.json()
    assert body["type"] == "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    assert (body["allowed"], body["degraded"], body["reason"]) == (False, True, "outage")
    assert body["violated-policies"] == ["strict"]


async def test_without_a_store_everything_that_takes_is_decided_in_the_process(orphaned: Limited) -> None:
    """P8: take-all, take-up-to, reservations and leases are 200 `degraded`; settle and release then work too."""
    together = await orphaned.ask("take-all", {"takes": [ONE, {"policy": "tenant", "key": "acme"}]})
    up_to = await orphaned.on("take-up-to", "tenant", most=50)
    reserved = await orphaned.on("reserve", "tokens", estimate=60)
    settled = await orphaned.on("settle", "tokens", id=reserved.json()["id"], actual=25)
    leased = await orphaned.on("lease", "jobs")
    released = await orphaned.on("release", "jobs", id=leased.json()["id"])

    assert [decision["degraded"] for decision in together.json()["decisions"]] == [True, True]
    assert (up_to.json()["degraded"], up_to.json()["cost"]) == (True, 10)
    assert (reserved.json()["decision"]["degraded"], settled.json()["settled"]) == (True, True)
    assert (leased.json()["decision"]["degraded"], released.json()) == (True, {"released": True})


async def test_without_a_store_what_only_the_store_knows_is_503(orphaned: Limited) -> None:
    """P8: peek, refund and reset are 503 with Retry-After, never 500."""
    answers = [await orphaned.on(verb) for verb in ("peek", "refund", "reset")]

    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        assert answer.json()["type"] == kind


async def test_the_head_of_a_response_is_short_however_many_policies_it_tells_of() -> None:
    """64 policies of 8 windows, the most that one call takes, leave a head that every proxy passes on."""
    windows = "; ".join(f"{1_000_000 + seconds}/{seconds}s" for seconds in range(60, 68))
    policies = {f"a-policy-with-quite-a-long-name-{number:02}": PolicySettings(limit=windows) for number in range(64)}

    async with service_at("fake://short-heads", limits=LimitSettings(policies=policies)) as service:
        response = await Limited(service).ask(
            "take-all", {"takes": [{"policy": name, "key": "ada"} for name in policies]}
        )

    assert response.status_code == 200
    assert len(response.json()["decisions"]) == 64
    assert sum(len(name) + len(value) + 4 for name, value in response.headers.raw) < 3_000


async def test_an_unknown_member_of_a_batch_is_told(limits: Limited) -> None:
    """A misspelled member of an item gets the member that was meant."""
    response = await limits.ask("take-batch", [{**ONE, "cst": 1}])

    assert response.status_code == 400
    assert "did you mean 'cost'?" in response.json()["remedy"]
