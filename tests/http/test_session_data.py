"""The data of a session over HTTP: conditions, bounds and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.http.client import Service, bearer, cookie
from tollhouse.sessions.verbs.data_editor import DATA_BYTES_MAX, DATA_NAMES_MAX

DATA = "/v1/session/data"


async def test_data_is_changed_by_name(service: Service) -> None:
    """A patch sets what it names, removes what is null, and leaves the rest; each answer has the version as ETag."""
    headers = bearer(await service.begin())

    empty = await service.ask("GET", DATA, headers=headers)
    first = await service.ask("PATCH", DATA, headers=headers, json={"cart": [1, {"a": None}], "lang": "de"})
    second = await service.ask("PATCH", DATA, headers=headers, json={"cart": None, "seen": 1.5})
    found = await service.ask("GET", DATA, headers=headers)

    assert (empty.status_code, empty.json(), empty.headers["etag"]) == (200, {"values": {}, "version": 1}, '"1"')
    assert (first.status_code, first.json(), first.headers["etag"]) == (200, {"version": 2}, '"2"')
    assert second.json() == {"version": 3}
    assert found.json() == {"values": {"lang": "de", "seen": 1.5}, "version": 3}
    assert found.headers["etag"] == '"3"'
    assert found.headers["cache-control"] == "no-store"


#   If-Match, status
CONDITIONS = [
    ('"1"', 200),
    (' "1"\t', 200),
    ("*", 200),
    ('"2"', 412),
    ('"01"', 412),
    ('"one"', 412),
    ('""', 412),
    ('"99999999999999"', 412),
    ('"999999999999999"', 412),
    ('W/"1"', 400),
    ('"1", "2"', 400),
    ("1", 400),
    ("", 400),
    ('"1', 400),
    ('"1" ', 200),
    ("* ", 200),
    ('"1"x', 400),
    ("*, *", 400),
]


@pytest.mark.parametrize(("condition", "status"), CONDITIONS)
async def test_a_conditional_change_is_done_only_on_its_version(service: Service, condition: str, status: int) -> None:
    """If-Match: 412 for another version, 400 for what is no one strong tag; a refusal changes nothing."""
    headers = bearer(await service.begin())

    changed = await service.ask("PATCH", DATA, headers={**headers, "If-Match": condition}, json={"lang": "de"})
    found = (await service.ask("GET", DATA, headers=headers)).json()

    assert changed.status_code == status
    assert found == ({"values": {"lang": "de"}, "version": 2} if status == 200 else {"values": {}, "version": 1})
    if condition == '"2"':
        assert changed.json()["type"] == "urn:tollhouse:problem:version-mismatch"
        assert (changed.json()["version"], changed.headers["etag"]) == (1, '"1"')


async def test_two_conditions_are_refused(service: Service) -> None:
    """A change for one of two versions is none that can be done."""
    token = await service.begin()
    headers = [*bearer(token).items(), ("If-Match", '"1"'), ("If-Match", '"1"')]

    assert (await service.ask("PATCH", DATA, headers=headers, json={"lang": "de"})).status_code == 400


#   If-None-Match, status
VALIDATORS = [
    ('"1"', 304),
    ('W/"1"', 304),
    ('"7" , W/"a,b",\t"1"', 304),
    ("*", 304),
    ('"2"', 200),
    ('"a,"', 200),
    ("1", 400),
    ('"1", *', 400),
    ('"2"x', 400),
    (",".join(['"2"'] * 33), 400),
]


@pytest.mark.parametrize(("validator", "status"), VALIDATORS)
async def test_a_client_that_has_the_version_is_told_so(service: Service, validator: str, status: int) -> None:
    """If-None-Match compares weakly (RFC 9110, 13.1.2): 304 without content and with the tag."""
    headers = {**bearer(await service.begin()), "If-None-Match": validator}

    answer = await service.ask("GET", DATA, headers=headers)

    assert answer.status_code == status
    if status == 304:
        assert (answer.content, answer.headers["etag"]) == (b"", '"1"')


async def test_of_requests_side_by_side_one_changes_a_version(service: Service) -> None:
    """Ten changes for one version: one is done, the others are 412; without conditions none loses another's."""
    headers = bearer(await service.begin())

    raced = await asyncio.gather(
        *(
            service.ask("PATCH", DATA, headers={**headers, "If-Match": '"1"'}, json={f"n{number}": number})
            for number in range(10)
        )
    )
    await asyncio.gather(
        *(service.ask("PATCH", DATA, headers=headers, json={f"m{number}": number}) for number in range(10))
    )
    found = (await service.ask("GET", DATA, headers=headers)).json()

    assert sorted(answer.status_code for answer in raced) == [200] + [412] * 9
    assert found["version"] == 12
    assert {f"m{number}" for number in range(10)} < set(found["values"])


async def test_a_value_is_taken_once(service: Service) -> None:
    """Of ten requests that take a value one gets it, the others null."""
    headers = bearer(await service.begin())
    await service.ask("PATCH", DATA, headers=headers, json={"flash": {"saved": True}})

    taken = await asyncio.gather(
        *(service.ask("POST", f"{DATA}/take", headers=headers, json={"name": "flash"}) for _ in range(10))
    )

    assert [answer.json()["value"] for answer in taken].count({"saved": True}) == 1
    assert [answer.json()["value"] for answer in taken].count(None) == 9
    assert {answer.headers["etag"] for answer in taken} == {f'"{answer.json()["version"]}"' for answer in taken}


async def test_numbers_are_counted(service: Service) -> None:
    """Increment adds, from 0 on and by 1 if nothing else is said; another value is 409 and stays."""
    headers = cookie(await service.begin())
    await service.ask("PATCH", DATA, headers=headers, json={"lang": "de"})

    sums = [
        await service.ask("POST", f"{DATA}/increment", headers=headers, json={"name": "visits", **by})
        for by in ({}, {"by": 5}, {"by": -7}, {"by": 2.0})
    ]
    refused = await service.ask("POST", f"{DATA}/increment", headers=headers, json={"name": "lang"})

    assert [answer.json()["value"] for answer in sums] == [1, 6, -1, 1]
    assert sums[-1].headers["etag"] == '"6"'
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:tollhouse:problem:not-a-number")


#   body
TOO_LARGE: list[dict[str, Any]] = [
    {"text": "x" * DATA_BYTES_MAX},
    {f"n{number}": 1 for number in range(DATA_NAMES_MAX + 1)},
    {"text": "x" * 100_000},
]


@pytest.mark.parametrize("body", TOO_LARGE, ids=["bytes", "values", "far too large"])
async def test_data_has_bounds(service: Service, body: dict[str, Any]) -> None:
    """413 names both bounds, and nothing is changed."""
    headers = bearer(await service.begin())

    refused = await service.ask("PATCH", DATA, headers=headers, json=body)

    assert refused.status_code == 413
    assert refused.json()["type"] == "urn:tollhouse:problem:data-too-large"
    assert (refused.json()["bytes_max"], refused.json()["values_max"]) == (DATA_BYTES_MAX, DATA_NAMES_MAX)
    assert (await service.ask("GET", DATA, headers=headers)).json()["version"] == 1


JSON, PATCH_JSON = "application/json", "application/merge-patch+json"
#   method, path, body, media type, status, field
HOSTILE = [
    ("PATCH", "", b'{"a": 1, "a": 2}', JSON, 400, "body"),
    ("PATCH", "", b'{"a": {"b": 1, "b": 2}}', JSON, 400, "body"),
    ("PATCH", "", b'{"a": 1, "\\u0061": 2}', JSON, 400, "body"),
    ("PATCH", "", b"[]", JSON, 400, "body"),
    ("PATCH", "", b'"a"', JSON, 400, "body"),
    ("PATCH", "", b"null", JSON, 400, "body"),
    ("PATCH", "", b"", JSON, 400, "body"),
    ("PATCH", "", b'{"a": ', JSON, 400, "body"),
    ("PATCH", "", b'{"a": NaN}', JSON, 400, "body"),
    ("PATCH", "", b'{"a": "\xff"}', JSON, 400, "body"),
    ("PATCH", "", b'{"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", JSON, 400, "body"),
    ("PATCH", "", b"{}", JSON, 422, "body"),
    ("PATCH", "", b"{%b}" % b",".join(b'"n%d": null' % n for n in range(129)), JSON, 422, "body"),
    ("PATCH", "", b'{"a b": 1}', JSON, 422, "name"),
    ("PATCH", "", b'{"": 1}', JSON, 422, "name"),
    ("PATCH", "", b'{"%b": 1}' % (b"n" * 65), JSON, 422, "name"),
    ("PATCH", "", b'{"a": 1}', PATCH_JSON, 415, None),
    ("PATCH", "", b"a=1", "application/x-www-form-urlencoded", 415, None),
    ("PATCH", "?version=1", b'{"a": 1}', JSON, 400, "version"),
    ("POST", "/take", b"{}", JSON, 400, "body"),
    ("POST", "/take", b'{"name": 1}', JSON, 400, "name"),
    ("POST", "/take", b'{"name": "a", "names": "b"}', JSON, 400, "body"),
    ("POST", "/take", b'{"name": "a", "name": "b"}', JSON, 400, "body"),
    ("POST", "/take", b'{"name": "a\\u0000"}', JSON, 422, "name"),
    ("POST", "/increment", b'{"name": "a", "by": "1"}', JSON, 400, "by"),
    ("POST", "/increment", b'{"name": "a", "by": true}', JSON, 400, "by"),
    ("POST", "/increment", b'{"name": "a", "by": 1.5}', JSON, 400, "by"),
    ("POST", "/increment", b'{"name": "a", "by": null}', JSON, 400, "by"),
    ("POST", "/increment", b'{"name": "a", "by": 100000000000000}', JSON, 422, "by"),
    ("POST", "/increment", b'{"name": "a", "by": 1e400}', JSON, 400, "by"),
]


@pytest.mark.parametrize(("method", "path", "body", "media_type", "status", "field"), HOSTILE)
async def test_a_bad_change_names_the_field(
    service: Service, method: str, path: str, body: bytes, media_type: str, status: int, field: str | None
) -> None:
    """Bad input is 400, 415 or 422 and changes nothing; a member that comes twice is refused, not chosen from."""
    headers = bearer(await service.begin())

    refused = await service.ask(method, DATA + path, headers={**headers, "Content-Type": media_type}, content=body)

    assert (refused.status_code, refused.json().get("field")) == (status, field)
    assert (await service.ask("GET", DATA, headers=headers)).json()["version"] == 1


ROUTES = [
    ("GET", DATA, None),
    ("PATCH", DATA, {"a": 1}),
    ("POST", f"{DATA}/take", {"name": "a"}),
    ("POST", f"{DATA}/increment", {"name": "a"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_without_a_live_session_there_is_no_data(
    service: Service, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """401 for no session and for one that is over, 403 for other credentials; no change brings a record back."""
    token = await service.begin()
    session = await service.tollhouse.sessions.verify(token)
    assert session is not None
    await service.tollhouse.sessions.revoke(session.user, session.sid)

    answers = [
        await service.ask(method, path, headers=headers, json=body)
        for headers in ({}, bearer(token), cookie(token), {"X-Api-Key": "a-service-key-for-tests"})
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 403]
    assert await service.records() == []
