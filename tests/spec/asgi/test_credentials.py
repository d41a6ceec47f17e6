"""Credentials: every edge reads the same headers alike."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.app import create_app
from tollhouse.asgi.credentials import session_cookie
from tollhouse.asgi.ratelimit.key_rules import key_finder, resolve_key
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.sessions.outcomes import Issued
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse

KEY = "service-key-0123456789abcdef~+/._=="
BODY = {"policy": "default", "key": "ada"}


def settings_of(world: StoreWorld) -> Settings:
    return Settings(url=world.url, secret=(bytes(range(32)),), service_key=(KEY,), plain_http=True)


async def ask(app: Any, headers: list[tuple[str, str]], method: str = "POST", path: str = "/v1/limits/take") -> int:
    """Send one request whose body comes in one message; return the status."""
    body = json.dumps(BODY).encode() if method == "POST" else b""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "client": ("192.0.2.1", 4711),
        "server": ("app", 80),
        "scheme": "http",
        "http_version": "1.1",
        "headers": [
            (b"host", b"app"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in headers),
        ],
    }

    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": body}]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await app(scope, receive, send)
    return sent[0]["status"]


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})


def is_fast(tollhouse: Tollhouse, headers: list[tuple[str, str]]) -> bool:
    """Return whether a take with these headers is answered below ASGI, which only a service key allows."""
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    plain = [(b"host", b"app"), (b"content-type", b"application/json"), (b"content-length", b"2")]
    scope: dict[str, Any] = {"headers": [*plain, *given], "client": ("192.0.2.1", 1), "root_path": ""}
    fields = dict(scope["headers"])
    if len(fields) < len(scope["headers"]):  # the protocol asks for no route then
        return False
    connection = FastPath(refuse, tollhouse, ApiKeys(tollhouse)).fast_connection()
    return connection.route(b"POST", b"/v1/limits/take", fields, scope) is not None


async def key_of(world: StoreWorld, rule: str, headers: list[tuple[str, str]], settings: Settings | None = None) -> str:
    async def send(_: Any) -> None:
        raise NotImplementedError

    source = limiter_source(settings_of(world) if settings is None else settings)
    scope = {
        "client": ("192.0.2.1", 1),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    context = RequestContext(source, await source.limiter(), scope, send)
    key = await resolve_key(key_finder(rule)(context), context)
    await source.aclose()
    return key


AUTHORIZATIONS = [
    (f"Bearer {KEY}", True),
    (f"bearer {KEY}", True),
    (f"BEARER   {KEY}", True),
    (f"Basic {KEY}", False),
    (f"Bearer{KEY}", False),
    (f"Bearer {KEY} more", False),
    ("Bearer ", False),
    (f"Bearer {KEY}\u00e4", False),
    (KEY, False),
]


@pytest.mark.parametrize(("authorization", "is_bearer"), AUTHORIZATIONS)
async def test_a_bearer_token_is_read_alike_everywhere(
    embedded: StoreWorld, authorization: str, is_bearer: bool
) -> None:
    """The scheme is case-insensitive (RFC 9110, 11.1) and a token has visible characters only."""
    headers = [("Authorization", authorization)]
    async with wiring.open(settings_of(embedded)) as tollhouse:
        fast = is_fast(tollhouse, headers)
        documented = await ask(create_app(tollhouse), headers) == 200
    counted = (await key_of(embedded, "api-key", headers)).startswith("api-key:")

    assert (fast, documented, counted) == (is_bearer,) * 3


PLANTED = "v1.00000000." + "ab" * 16 + "." + "a" * 26 + "." + "A" * 43
#   the Cookie header, whether it opens the session; {0} is a good token, {1} one that was planted
COOKIES = [
    ("tollhouse-dev={0}", True),
    ("a=1; tollhouse-dev={0}", True),
    ("a=1;tollhouse-dev={0};b", True),
    ("; =x; a; tollhouse-dev={0}", True),
    ("tollhouse-dev={0} ", True),
    ('tollhouse-dev="{0}"', False),
    ("tollhouse-dev={0}; tollhouse-dev={1}", False),
    ("tollhouse-dev={1}; tollhouse-dev={0}", False),
    ("tollhouse-dev={0}; tollhouse-dev={0}", False),
    ("tollhouse-dev={0}; tollhouse-dev=", False),
    ("other-tollhouse-dev={0}", False),
    ("Tollhouse-Dev={0}", False),
    ("__Host-tollhouse={0}", False),
    ("tollhouse%2Ddev={0}", False),
    ("tollhouse-dev%3D{0}", False),
    ("tollhouse-dev ={0}", False),
    ("tollhouse-dev= {0}", False),
    ("a=1;  tollhouse-dev={0}", False),
    ("a=1; \ttollhouse-dev={0}", False),
    ("a=1;\ttollhouse-dev={0}", False),
    ("a=1; \xa0tollhouse-dev={0}", False),
    ("a=1; tollhouse-dev\xa0={0}", False),
    ("a=1; tollhouse-dev={0}\xa0", False),
    ("a=1, tollhouse-dev={0}", False),
    ("$Version=1,tollhouse-dev={0}", False),
    ("a=1; \xe2\x80\x83tollhouse-dev={0}", False),
]


@pytest.mark.parametrize(("cookie", "is_session"), COOKIES)
async def test_a_session_cookie_is_read_alike_everywhere(embedded: StoreWorld, cookie: str, is_session: bool) -> None:
    """A cookie is the session's if its name is ours byte for byte, and it was sent once; the service and keys agree."""
    async with wiring.open(settings_of(embedded)) as tollhouse:
        issued = await tollhouse.sessions.create(user="ada")
        assert isinstance(issued, Issued)
        headers = [("Cookie", cookie.format(issued.token.reveal(), PLANTED))]
        documented = await ask(create_app(tollhouse), headers, "GET", "/v1/session") == 200
        counted = await key_of(embedded, "session", headers) == f"session:{issued.session.sid}"

    assert (documented, counted) == (is_session, is_session)


@pytest.mark.parametrize("plain_http", [True, False])
async def test_only_the_cookie_that_the_settings_choose_counts(embedded: StoreWorld, plain_http: bool) -> None:
    """`tollhouse-dev`, which a page without TLS can plant, opens nothing unless plain_http is set, at no edge."""
    settings = replace(settings_of(embedded), plain_http=plain_http)
    async with wiring.open(settings) as tollhouse:
        issued = await tollhouse.sessions.create(user="ada")
        assert isinstance(issued, Issued)
        headers = [("Cookie", f"tollhouse-dev={issued.token.reveal()}")]
        documented = await ask(create_app(tollhouse), headers, "GET", "/v1/session") == 200
        counted = await key_of(embedded, "session", headers, settings) == f"session:{issued.session.sid}"

    assert (documented, counted) == (plain_http, plain_http)


#   headers, whether they open the session of the good token {0}; {1} was planted
BOTH = [
    ([("Authorization", "Bearer {0}"), ("Cookie", "tollhouse-dev={1}")], True),
    ([("Authorization", "Bearer {0}"), ("Cookie", "tollhouse-dev={1}; tollhouse-dev={1}")], True),
    ([("Authorization", "Bearer {1}"), ("Cookie", "tollhouse-dev={0}")], False),
    ([("Authorization", "Bearer none-of-ours"), ("Cookie", "tollhouse-dev={0}")], False),
    ([("Authorization", "Basic YWRhOnNlc2FtZQ=="), ("Cookie", "tollhouse-dev={0}")], True),
    ([("Authorization", "Bearer {0}"), ("Authorization", "Bearer {1}")], False),
    ([("Authorization", "Bearer {0}"), ("Authorization", "Bearer {0}")], False),
    ([("X-Api-Key", "another-key-of-a-gateway"), ("Authorization", "Bearer {0}")], True),
]


@pytest.mark.parametrize(("headers", "is_session"), BOTH)
async def test_a_bearer_token_decides_and_the_cookie_counts_only_without_one(
    embedded: StoreWorld, headers: list[tuple[str, str]], is_session: bool
) -> None:
    """A stale or planted cookie is no obstacle to a good token, and no good cookie stands in for a bad token."""
    async with wiring.open(settings_of(embedded)) as tollhouse:
        issued = await tollhouse.sessions.create(user="ada")
        assert isinstance(issued, Issued)
        given = [(name, value.format(issued.token.reveal(), PLANTED)) for name, value in headers]
        documented = await ask(create_app(tollhouse), given, "GET", "/v1/session") == 200
        counted = await key_of(embedded, "session", given) == f"session:{issued.session.sid}"

    assert (documented, counted) == (is_session, is_session)


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key"])
async def test_a_key_that_is_sent_twice_is_none(embedded: StoreWorld, name: str) -> None:
    """Two values of one header leave it to the reader which one counts; here neither does, at any edge."""
    headers = [(name, f"Bearer {KEY}" if name == "Authorization" else KEY)] * 2
    async with wiring.open(settings_of(embedded)) as tollhouse:
        fast = is_fast(tollhouse, headers)
        documented = await ask(create_app(tollhouse), headers) == 200
    counted = (await key_of(embedded, "api-key", headers)).startswith("api-key:")

    assert (fast, documented, counted) == (False,) * 3


OURS = "__Host-tollhouse"
TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
COOKIE_OCTETS = "".join(chr(octet) for octet in range(0x21, 0x7F) if chr(octet) not in '",;\\')
VALUES = st.text(COOKIE_OCTETS, max_size=12)
PAIRS = st.tuples(st.just(OURS) | st.text(TOKEN_CHARACTERS, min_size=1, max_size=8), VALUES)
SPACES = st.sampled_from([b"", b" ", b"\t", b"\x0b", b"\x1f", b"\x85", b"\xa0", b"\xc2\xa0", b"\xe2\x80\xa8", b'"'])
OCTETS = SPACES | st.binary(max_size=3).filter(lambda octets: not set(octets) & set(b";="))


def cookie_headers(*values: bytes) -> dict[str, Any]:
    return {"headers": [(b"cookie", value) for value in values]}


@given(headers=st.lists(st.lists(PAIRS, min_size=1, max_size=4), max_size=3))
def test_every_cookie_string_of_rfc_6265_is_read_exactly(headers: list[list[tuple[str, str]]]) -> None:
    """RFC 6265, 4.2.1: of any cookie strings, also several, ours has the bytes of its value; sent twice it has none."""
    lines = ["; ".join(f"{name}={value}" for name, value in pairs).encode() for pairs in headers]
    ours = [value for pairs in headers for name, value in pairs if name == OURS]

    assert session_cookie(cookie_headers(*lines), OURS) == (ours[0] if len(ours) == 1 else "")


@given(before=OCTETS, after=OCTETS)
def test_a_name_that_is_not_ours_byte_for_byte_is_another(before: bytes, after: bytes) -> None:
    """RFC 6265bis, 4.1.3: bytes that a browser does not see as the prefix `__Host-` never become it in the reader."""
    line = b"a=1; " + before + OURS.encode() + after + b"=planted"

    assert bool(session_cookie(cookie_headers(line), OURS)) == (before + after == b"")


@given(letters=st.lists(st.booleans(), min_size=len(OURS), max_size=len(OURS)))
def test_the_case_of_a_name_counts(letters: list[bool]) -> None:
    """RFC 6265bis, 5.7: browsers match the prefix in any case, and a name in another case is another cookie."""
    name = "".join(char.upper() if upper else char.lower() for char, upper in zip(OURS, letters, strict=True))

    assert bool(session_cookie(cookie_headers(f"{name}=planted".encode()), OURS)) == (name == OURS)


@given(line=st.binary(max_size=40), good=VALUES)
def test_no_other_cookies_hide_or_change_ours(line: bytes, good: str) -> None:
    """Any bytes in front of our pair leave its value as it is."""
    assert session_cookie(cookie_headers(line + f"; {OURS}={good}".encode()), OURS) == good
