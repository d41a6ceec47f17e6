"""Notices about forwarding fields that do not decide who the client is: once each, with the line that would."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tollhouse.asgi.client_address import ClientAddresses
from tollhouse.asgi.forwarding_notices import ForwardingNotices
from tollhouse.settings.networks import trusted_networks

UNTRUSTED = "forwarding fields of a peer that is not trusted"
UNCLEAR = "a trusted proxy names no client, or two"
CONTRADICTED = "the server believes a hop that trusted_proxies does not"

LISTED = {"x-forwarded-for": "192.0.2.1"}


class Traffic:
    """Requests to one application, and the notices that they give rise to."""

    def __init__(self, *trusted: str) -> None:
        self.clients = ClientAddresses(trusted_networks(trusted), notices=ForwardingNotices())

    def request(self, peer: str | None, headers: dict[str, str]) -> str:
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        client = None if peer is None else (peer, 4711)
        return self.clients.client_of({"type": "http", "client": client, "headers": encoded})


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["event"] for record in caplog.records if record.levelno == logging.WARNING]


#    trusted proxies, peer, headers, the line that would trust it
UNUSED: list[tuple[list[str], str | None, dict[str, str], str]] = [
    ([], "10.0.0.7", LISTED, "['10.0.0.7']"),
    ([], "10.0.0.7", {"Forwarded": "for=192.0.2.1"}, "['10.0.0.7']"),
    ([], "10.0.0.7", {"X-Real-IP": "192.0.2.1"}, "['10.0.0.7']"),
    ([], "10.0.0.7", {"cf-connecting-ip": "192.0.2.1"}, "['10.0.0.7']"),
    ([], "2001:db8::7", LISTED, "['2001:db8::7']"),
    ([], "::ffff:10.0.0.7", LISTED, "['10.0.0.7']"),
    ([], None, LISTED, "['loopback']"),
    (["10.0.0.8"], "10.0.0.7", LISTED, "['10.0.0.7']"),
]


@pytest.mark.parametrize(("trusted", "peer", "headers", "line"), UNUSED)
def test_a_field_of_a_peer_that_is_not_trusted_is_a_warning_with_the_remedy(
    caplog: pytest.LogCaptureFixture, trusted: list[str], peer: str | None, headers: dict[str, str], line: str
) -> None:
    """Behind a proxy that is not trusted all clients count as one: the first request says so, and how to trust it."""
    traffic = Traffic(*trusted)

    for _ in range(3):
        traffic.request(peer, headers)

    assert events(caplog) == [UNTRUSTED]
    assert f"trusted_proxies={line}" in caplog.text
    assert "192.0.2.1" not in caplog.text
    assert ("have it send X-Forwarded-For" in caplog.text) == (set(headers) <= {"X-Real-IP", "cf-connecting-ip"})


def test_what_says_nothing_about_a_client_is_no_notice(caplog: pytest.LogCaptureFixture) -> None:
    """Requests without such a field, and those of trusted proxies that name a client, are logged nowhere."""
    Traffic().request("10.0.0.7", {"host": "example.org", "x-forwarded-proto": "https"})
    Traffic("private").request("10.0.0.7", LISTED)
    Traffic("private").request("10.0.0.7", {"host": "example.org"})

    assert events(caplog) == []


@pytest.mark.parametrize("trusted", [[], ["10.0.0.8"]])
def test_a_proxy_that_begins_to_forward_later_is_noticed_soon(
    caplog: pytest.LogCaptureFixture, trusted: list[str]
) -> None:
    """Health checks come first and carry no field; not every later request is searched, and still a few suffice."""
    traffic = Traffic(*trusted)

    for _ in range(1_000):
        traffic.request("10.0.0.7", {"host": "example.org"})
    for _ in range(64):
        traffic.request("10.0.0.7", LISTED)

    assert events(caplog) == [UNTRUSTED]


UNREADABLE = [
    {"x-real-ip": "192.0.2.1"},
    {"x-forwarded-for": "unknown"},
    {"x-forwarded-for": "192.0.2.1", "forwarded": "for=198.51.100.7"},
]


@pytest.mark.parametrize("headers", UNREADABLE)
def test_a_trusted_proxy_that_names_no_client_is_a_warning(
    caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    """Its clients count as one too, whether it sends a field that is not read, nonsense, or two that differ."""
    traffic = Traffic("private")

    assert [traffic.request("10.0.0.7", headers) for _ in range(2)] == ["10.0.0.7"] * 2
    assert events(caplog) == [UNCLEAR]


async def behind_uvicorn(traffic: Traffic, peer: str, listed: str, *, allowed: str = "127.0.0.1") -> str:
    """Send a request through what uvicorn puts around an application, and return the client that we see."""
    found = ""

    async def app(scope: object, receive: object, send: object) -> None:
        nonlocal found
        found = traffic.clients.client_of(scope)  # type: ignore[arg-type] - an ASGI scope

    headers = [(b"x-forwarded-for", listed.encode())]
    scope = {"type": "http", "scheme": "http", "client": (peer, 4711), "headers": headers}
    await ProxyHeadersMiddleware(app, allowed)(scope, None, None)  # type: ignore[arg-type] - nothing is received or sent
    return found


async def test_a_server_that_has_read_the_field_is_believed_and_not_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Behind a local proxy uvicorn replaces the peer by the client: there is nothing to trust, and nothing to say."""
    assert await behind_uvicorn(Traffic(), "127.0.0.1", "192.0.2.1") == "192.0.2.1"
    assert await behind_uvicorn(Traffic("loopback"), "127.0.0.1", "198.51.100.7, 192.0.2.1") == "192.0.2.1"
    assert await behind_uvicorn(Traffic("10.0.0.7"), "127.0.0.1", "192.0.2.1, 10.0.0.7") == "192.0.2.1"

    assert events(caplog) == []


async def test_a_server_that_believes_what_clients_write_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """With `--forwarded-allow-ips '*'` a client chooses its key; trusted proxies that say otherwise show it."""
    traffic = Traffic("10.0.0.7")

    assert await behind_uvicorn(traffic, "10.0.0.7", "198.51.100.7, 192.0.2.1", allowed="*") == "198.51.100.7"
    assert events(caplog) == [CONTRADICTED]


MIDDLEWARE = """
app = lambda: tollhouse.RateLimitMiddleware(hello, url="fake://notices")
"""
SERVICE = """
def app():
    opened = tollhouse.open("fake://notices")
    return FastPath(create_app(opened, keys=(keys := ApiKeys(opened))), opened, keys)
"""
PROGRAM = """
import asyncio, tollhouse
from tests.asgi import get, hello
{imports}
{app}
async def main():
    for served in (app(), app()):
        for _ in range(2):
            response = await get(served, peer="10.0.0.7", **{{"X-Forwarded-For": "192.0.2.1", "X-Api-Key": "k" * 16}})
asyncio.run(main())
"""
IMPORTS = """
from tollhouse.app import create_app
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.limits.fast_path import FastPath
"""


@pytest.mark.parametrize(("imports", "app"), [("", MIDDLEWARE), (IMPORTS, SERVICE)], ids=["middleware", "service"])
def test_a_process_says_it_once(imports: str, app: str) -> None:
    """However many requests, applications and edges a process has, a notice is one line."""
    program = PROGRAM.format(imports=imports, app=app)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr.count(UNTRUSTED) == 1
    assert done.stderr.count("trusted_proxies=['10.0.0.7']") == 1
