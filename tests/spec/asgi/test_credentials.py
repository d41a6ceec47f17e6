"""Credentials: every edge reads the same headers alike."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.app import create_app
from tollhouse.asgi.ratelimit.key_rules import key_finder, resolve_key
from tollhouse.asgi.ratelimit.limiter_source import limiter_source
from tollhouse.asgi.ratelimit.request_context import RequestContext
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.sessions.sessions import Issued
from tollhouse.settings import Settings

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
            *((name.lower().encode(), value.encode()) for name, value in headers),
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


async def key_of(world: StoreWorld, rule: str, headers: list[tuple[str, str]]) -> str:
    async def send(_: Any) -> None:
        raise NotImplementedError

    source = limiter_source(settings_of(world))
    scope = {
        "client": ("192.0.2.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
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
        fast = await ask(FastPath(refuse, tollhouse), headers) == 200
        documented = await ask(create_app(tollhouse), headers) == 200
    counted = (await key_of(embedded, "api-key", headers)).startswith("api-key:")

    assert (fast, documented, counted) == (is_bearer,) * 3


COOKIES = [
    ("a=1; tollhouse-dev={0}", True),
    ('tollhouse-dev="{0}"', True),
    ("tollhouse-dev={0}; tollhouse-dev=v1.other", True),
    ("tollhouse-dev=v1.other; tollhouse-dev={0}", False),
    ("other-tollhouse-dev={0}", False),
]


@pytest.mark.parametrize(("cookie", "is_session"), COOKIES)
async def test_a_session_cookie_is_read_alike_everywhere(embedded: StoreWorld, cookie: str, is_session: bool) -> None:
    """The first cookie of the name is the session's, quoted or not, in the service and as a key."""
    async with wiring.open(settings_of(embedded)) as tollhouse:
        issued = await tollhouse.sessions.create(user="ada")
        assert isinstance(issued, Issued)
        headers = [("Cookie", cookie.format(issued.token.reveal()))]
        documented = await ask(create_app(tollhouse), headers, "GET", "/v1/session") == 200
        counted = await key_of(embedded, "session", headers) == f"session:{issued.session.sid}"

    assert (documented, counted) == (is_session, is_session)
