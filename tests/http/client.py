"""The service in this process, over its real ASGI interface and a real store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
from litestar import Litestar

from tollhouse import wiring
from tollhouse.ai.langid import langid
from tollhouse.ai.models import Models
from tollhouse.app import create_app, serve_quickly
from tollhouse.http.api_keys import ApiKeys
from tollhouse.http.limits.fast_path import FastPath
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse, load_settings
from tollhouse.wiring.features import THROTTLES

ADMIN_KEY = "an-admin-key-for-tests"
SERVICE_KEY = "a-service-key-for-tests"
PASSWORD = "nine apples fell on Tuesday"
ADMIN = {"X-Api-Key": ADMIN_KEY}
LANGID = langid()
"""Shared by all tests, because it loads its data once."""
SERVICE = {"Authorization": f"Bearer {SERVICE_KEY}"}


def settings_at(url: str, **changes: Any) -> Settings:
    """Return settings on a server; `fake://` without a name is new data each time, which no other test has."""
    chosen: dict[str, Any] = {
        "url": f"fake://{secrets.token_hex(8)}" if url == "fake://" else url,
        "secret": (b"a secret for tests, 32 bytes or more",),
        "admin_key": (ADMIN_KEY,),
        "service_key": (SERVICE_KEY,),
        "password_profile": "owasp",
        "plain_http": True,
        "deadline_ms": 10_000,  # a machine that stands still for a second fails no test
        "round_trip_ms": 1_000,
        **changes,
    }
    return Settings(**chosen)


def served_app(tollhouse: Tollhouse) -> tuple[Litestar, FastPath]:
    """Return the documented application, and the same behind the fast path."""
    keys = ApiKeys(tollhouse)
    app = create_app(tollhouse, keys=keys)
    return app, serve_quickly(app, tollhouse, keys)


def cookies_of(response: httpx2.Response) -> dict[str, Morsel[str]]:
    """Return the cookies that a response sets, by name, with their attributes."""
    parsed = (SimpleCookie(text) for text in response.headers.get_list("set-cookie"))
    return {name: cookie for one in parsed for name, cookie in one.items()}


class Service:
    """A running service and a client for it."""

    def __init__(self, tollhouse: Tollhouse, client: httpx2.AsyncClient) -> None:
        self.tollhouse = tollhouse
        self.client = client

    async def renew(self) -> None:
        """Empty the stores, and forget the cookies and the refusals that are remembered in this process."""
        for store in self.tollhouse.stores.all():
            await store.command("FLUSHDB")
        self.tollhouse.limits.refusals.clear()
        for throttle in list(THROTTLES):
            throttle.forget()
        self.client.cookies.clear()

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return await self.client.request(method, path, **options)

    async def sign_up(self, user: str = "ada") -> None:
        response = await self.ask("POST", "/v1/accounts", json={"user": user, "password": PASSWORD})
        assert response.status_code == 201, response.text

    async def log_in(self, user: str = "ada") -> dict[str, str]:
        """Log in with a bearer token; return the headers that carry it."""
        body = {"user": user, "password": PASSWORD, "transport": "bearer"}
        response = await self.ask("POST", "/v1/login", json=body)
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['token']}"}

    async def begin(self, user: str = "ada", **details: Any) -> str:
        """Begin a session without an account; return its token."""
        return (await self.tollhouse.sessions.create(user, **details)).token.reveal()

    async def records(self) -> list[bytes]:
        """Return the keys of all sessions that are stored."""
        return await self.tollhouse.stores.sessions.command("KEYS", "*:sid:" + "?" * 26)

    async def make_due(self) -> None:
        """Make the token of every session due for renewal, as a policy with `renew_ms` does."""
        for record in await self.records():
            await self.tollhouse.stores.sessions.command("HSET", record, "n", 60_000, "ra", 1)


def bearer(token: str) -> dict[str, str]:
    """Return the headers of a client that is no browser."""
    return {"Authorization": f"Bearer {token}"}


def cookie(token: str) -> dict[str, str]:
    """Return the headers of a browser."""
    return {"Cookie": f"tollhouse-dev={token}"}


@asynccontextmanager
async def service_at(url: str, *, peer: str = "127.0.0.1", **changes: Any) -> AsyncGenerator[Service]:
    models = None if "ai" in changes else Models(filter(None, [LANGID]))
    tollhouse = wiring.open(settings_at(url, **changes), models=models)
    app, served = served_app(tollhouse)
    transport = httpx2.ASGITransport(app=served, client=(peer, 50_000))  # type: ignore[arg-type] - httpx types its scope
    async with app.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield Service(tollhouse, client)


def settings_from(path: Path, **environ: str) -> Settings:
    return load_settings(path, environ=environ)
