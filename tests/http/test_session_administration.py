"""Sessions of any user, for administrators: list, end, disable and enable, whatever the user is called."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.http.client import ADMIN, SERVICE, Service, bearer

USERS = "/v1/admin/users"


def of(user: str) -> str:
    """Return the path of a user, encoded as one segment; dots too, or clients take `..` for the folder above."""
    return f"{USERS}/{quote(user, safe='').replace('.', '%2E')}"


async def status(service: Service, token: str) -> int:
    return (await service.ask("GET", "/v1/session", headers=bearer(token))).status_code


@pytest.mark.asvs("7.4.5")
async def test_an_administrator_lists_and_ends_the_sessions_of_a_user(service: Service) -> None:
    """Lists show no token and no current session; one session or all end at once, and other users keep theirs."""
    first, second, other = await service.begin(device="a"), await service.begin(device="b"), await service.begin("eve")

    listed = (await service.ask("GET", f"{of('ada')}/sessions", headers=ADMIN)).json()["sessions"]
    sids = {one["device"]: one["sid"] for one in listed}
    ended = await service.ask("DELETE", f"{of('ada')}/sessions/{sids['a']}", headers=ADMIN)
    again = await service.ask("DELETE", f"{of('ada')}/sessions/{sids['a']}", headers=ADMIN)
    of_another = await service.ask("DELETE", f"{of('eve')}/sessions/{sids['b']}", headers=ADMIN)
    assert [await status(service, token) for token in (first, second, other)] == [401, 200, 200]
    all_ended = await service.ask("DELETE", f"{of('ada')}/sessions", headers=ADMIN)

    assert {"sid", "user", "device", "policy", "last_seen_at"} < set(listed[0])
    assert "current" not in listed[0]
    assert [answer.status_code for answer in (ended, again, of_another, all_ended)] == [204, 404, 404, 204]
    assert {answer.headers["tollhouse-durable"] for answer in (ended, all_ended)} == {"false"}
    assert [await status(service, token) for token in (first, second, other)] == [401, 401, 200]
    assert (await service.ask("GET", f"{of('ada')}/sessions", headers=ADMIN)).json() == {"sessions": []}


@pytest.mark.asvs("7.4.2")
async def test_a_disabled_user_is_out_until_enabled(service: Service) -> None:
    """ASVS 7.4.2: disabling ends all sessions and admits no login; enabling admits one, and brings none back."""
    await service.sign_up()
    token = (await service.log_in())["Authorization"][7:]
    login = {"user": "ada", "password": "nine apples fell on Tuesday"}

    disabled = await service.ask("POST", f"{of('ada')}/disable", headers=ADMIN)
    refused = await service.ask("POST", "/v1/login", json=login)
    enabled = await service.ask("POST", f"{of('ada')}/enable", headers=ADMIN)
    admitted = await service.ask("POST", "/v1/login", json=login)

    assert [answer.status_code for answer in (disabled, refused, enabled, admitted)] == [204, 401, 204, 200]
    assert {answer.headers["tollhouse-durable"] for answer in (disabled, enabled)} == {"false"}
    assert await status(service, token) == 401


async def test_a_client_can_learn_that_an_administrator_ended_its_session(service: Service) -> None:
    """The cause of an end is that of the route, so that the user is told the truth."""
    one, every, disabled = await service.begin("one"), await service.begin("every"), await service.begin("disabled")
    session = await service.tollhouse.sessions.verify(one)
    assert session is not None

    await service.ask("DELETE", f"{of('one')}/sessions/{session.sid}", headers=ADMIN)
    await service.ask("DELETE", f"{of('every')}/sessions", headers=ADMIN)
    await service.ask("POST", f"{of('disabled')}/disable", headers=ADMIN)
    ends = [await service.tollhouse.sessions.why(token) for token in (one, every, disabled)]

    assert [end and end.reason for end in ends] == ["revoked-by-admin", "revoked-by-admin", "disabled"]


NAMES = [
    "auth0|5f7c",
    "https://idp.example/users/7?a=b#c",
    "a/b",
    "/",
    "..",
    ".",
    "a%2Fb",
    "%",
    "100%",
    "a b+c",
    "Ærøskøbing 日本 🦉",
    "ada@example.org",
    "{uid}",
    "sessions",
    "x" * 256,
]


@pytest.mark.parametrize("name", NAMES)
async def test_any_user_can_be_named_in_a_path(service: Service, name: str) -> None:
    """A user's id is percent-encoded once by the client and decoded once here, also a slash, dots and percent signs."""
    token, other = await service.begin(name), await service.begin("ada")

    listed = (await service.ask("GET", f"{of(name)}/sessions", headers=ADMIN)).json()["sessions"]
    one = await service.ask("DELETE", f"{of(name)}/sessions/{listed[0]['sid']}", headers=ADMIN)
    every = await service.ask("POST", f"{of(name)}/disable", headers=ADMIN)

    assert [session["user"] for session in listed] == [name]
    assert (one.status_code, every.status_code) == (204, 204)
    assert [await status(service, text) for text in (token, other)] == [401, 200]


async def test_one_user_in_two_spellings_is_one(service: Service) -> None:
    """Ids are compared in NFC, as when the session began."""
    await service.begin("\u00e9mile")
    path = of("e\u0301mile")

    listed = (await service.ask("GET", f"{path}/sessions", headers=ADMIN)).json()["sessions"]

    assert len(listed) == 1


#   what stands in place of the user, status
HOSTILE = [
    ("%00", 422),
    ("a%0Ab", 422),
    ("%ff", 422),
    ("%c3", 422),
    ("%ed%a0%80", 422),
    ("x" * 257, 422),
    ("%20" * 300, 422),
    ("", 404),
    ("/ada", 404),
]


@pytest.mark.parametrize("route", ["GET /sessions", "DELETE /sessions", "POST /disable", "POST /enable"])
@pytest.mark.parametrize(("text", "expected"), HOSTILE)
async def test_what_no_user_is_called_is_refused(service: Service, route: str, text: str, expected: int) -> None:
    """422 names `uid`; a path with a doubled slash is no route; nothing is written."""
    method, _, rest = route.partition(" ")

    refused = await service.ask(method, f"{USERS}/{text}{rest}", headers=ADMIN)

    assert refused.status_code == expected
    assert refused.json().get("field") == ("uid" if expected == 422 else None)
    assert await service.tollhouse.stores.sessions.command("DBSIZE") == 0


async def test_an_encoded_segment_stays_in_its_place(service: Service) -> None:
    """What is encoded in one part of a path never becomes another: neither a prefix nor a sid of a route."""
    token = await service.begin()
    paths = ["/v1/%61dmin/users/a%2Fb/sessions", "/v1/admin%2Fusers/ada/sessions", f"{USERS}/ada%2Fsessions"]

    for path in paths:
        assert (await service.ask("DELETE", path, headers=ADMIN)).status_code == 404
    assert await status(service, token) == 200


ROUTES = [
    ("GET", "sessions"),
    ("DELETE", "sessions"),
    ("DELETE", "sessions/none"),
    ("POST", "disable"),
    ("POST", "enable"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_administration_needs_an_admin_key(service: Service, method: str, path: str) -> None:
    """401 without credentials, 403 for a user and for a service; a body or a query that is not wanted is 400 or 415."""
    token = await service.begin()
    url = f"{of('ada')}/{path}"

    statuses = [
        (await service.ask(method, url, headers=headers)).status_code for headers in ({}, bearer(token), SERVICE)
    ]

    assert statuses == [401, 403, 403]
    assert (await service.ask(method, f"{url}?force=1", headers=ADMIN)).status_code == 400
    assert await status(service, token) == 200
