"""Clients that hang up while the service waits for them: they take nothing, and others do not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from tests.http.client import SERVICE_KEY
from tests.http.limited import Limited, limited_on

PATIENCE_S = 10


@pytest.fixture
async def limits(valkey_socket: Path) -> AsyncIterator[Limited]:
    async with limited_on(valkey_socket) as limits:
        yield limits


class Client:
    """A client of the service that can hang up; `status` is what the service would have answered."""

    def __init__(self, limits: Limited, verb: str, **body: Any) -> None:
        self._app = cast("Any", limits.service.client)._transport.app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": f"/v1/limits/{verb}",
            "raw_path": f"/v1/limits/{verb}".encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"x-api-key", SERVICE_KEY.encode())],
            "client": ("127.0.0.1", 4711),
            "server": ("app", 80),
        }
        self._unread = [{"type": "http.request", "body": msgspec.json.encode(body), "more_body": False}]
        self._gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.status = 0

    def hang_up(self) -> None:
        self._gone.set()

    async def request(self) -> int:
        await self._app(self._scope, self._receive, self._send)
        return self.status

    async def _receive(self) -> Any:
        if self._unread:
            return self._unread.pop()
        self.reads.set()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def hang_up_while_waiting(limits: Limited, verb: str, **body: Any) -> int:
    client = Client(limits, verb, **body)
    request = asyncio.create_task(client.request())
    async with asyncio.timeout(PATIENCE_S):
        await client.reads.wait()
        client.hang_up()
        return await request


async def test_a_client_that_hangs_up_takes_nothing(limits: Limited) -> None:
    """A request for units ends with its connection, and a client that stays has them all."""
    await limits.on("take", "bucket", cost=20)

    gone = [await hang_up_while_waiting(limits, "acquire", policy="bucket", key="ada", cost=9, wait_ms=60_000)]
    gone += [await hang_up_while_waiting(limits, "acquire", policy="bucket", key="ada", wait_ms=60_000)]
    stays = await limits.on("acquire", "bucket", cost=10, wait_ms=2_000)

    assert gone == [499, 499]
    assert stays.status_code == 200


async def test_a_client_that_hangs_up_holds_no_permit(limits: Limited) -> None:
    """A request for a lease ends with its connection: a permit that becomes free is there for others."""
    held = [(await limits.on("lease", "jobs")).json()["id"] for _ in range(2)]

    gone = await hang_up_while_waiting(limits, "lease", policy="jobs", key="ada", wait_ms=60_000)
    for lease_id in held:
        await limits.on("release", "jobs", id=lease_id)

    assert gone == 499
    assert await limits.left("jobs") == [2]


@pytest.mark.parametrize(("verb", "policy"), [("acquire", "api"), ("lease", "jobs")])
async def test_what_no_client_receives_is_given_back(limits: Limited, verb: str, policy: str) -> None:
    """Units and permits that were granted to a client that is gone already are free again."""
    before = await limits.left(policy)
    clients = [Client(limits, verb, policy=policy, key="ada", wait_ms=0) for _ in range(5)]
    for client in clients:
        client.hang_up()

    statuses = [await client.request() for client in clients]
    await limits.service.tollhouse.limits.aclose()

    assert set(statuses) == {499}
    assert await limits.left(policy) == before


@pytest.mark.parametrize(("verb", "policy"), [("acquire", "api"), ("lease", "jobs")])
async def test_a_client_that_stays_keeps_what_it_got(limits: Limited, verb: str, policy: str) -> None:
    """An answer that is sent is not given back, and the connection is watched no longer."""
    client = Client(limits, verb, policy=policy, key="ada", wait_ms=0)
    before = await limits.left(policy)

    status = await client.request()
    client.hang_up()
    await limits.service.tollhouse.limits.aclose()

    assert status == 200
    assert await limits.left(policy) == [one - 1 for one in before]
