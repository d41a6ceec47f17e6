"""The steps of the demo: HTTP requests, with the expected and the actual response."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from tollhouse.drill.clients.http_connection import HttpConnections, HttpReply

_READY_S: Final = 15.0
_REPLY_S: Final = 10.0


class TourStep(Struct, frozen=True, kw_only=True):
    """One step: what was expected, and what happened."""

    name: str
    expected: str
    saw: str
    ok: bool


async def take_tour(address: str, service_key: str, *, ask_model: bool = True) -> AsyncGenerator[TourStep]:
    """Run the steps in order, those of the AI model only if `ask_model`; one that fails does not stop the others."""
    user, password = f"demo-{secrets.token_hex(4)}", f"tour {secrets.token_urlsafe(16)}"
    async with aclosing(HttpConnections(address, timeout_s=_REPLY_S)) as client:
        yield await _ready(client)
        for steps in (
            _accounts(client, user, password),
            _limits(client, service_key),
            *([_results(client, service_key)] if ask_model else []),
            _sessions(client, user, password),
        ):
            async for step in steps:
                yield step


async def _ready(client: HttpConnections) -> TourStep:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            reply = await client.request("GET", "/readyz")
        except OSError as error:
            if time.monotonic() > deadline_s:
                return TourStep(name="service is ready", expected="200", saw=f"no answer: {error}", ok=False)
            await asyncio.sleep(0.05)
        else:
            saw = f"{reply.status}, cache {reply.json['cache']}"
            return TourStep(name="service is ready", expected="200, cache connected", saw=saw, ok=reply.status == 200)


async def _accounts(client: HttpConnections, user: str, password: str) -> AsyncGenerator[TourStep]:
    credentials = {"user": user, "password": password}
    made = await client.request("POST", "/v1/accounts", credentials)
    yield _status("sign up", made, 201)
    taken = await client.request("POST", "/v1/accounts", credentials)
    yield _status("sign up again with the same name", taken, 409)
    wrong = await client.request("POST", "/v1/login", {"user": user, "password": "not the password at all"})
    yield _status("log in with a wrong password", wrong, 401)


async def _limits(client: HttpConnections, key: str) -> AsyncGenerator[TourStep]:
    take = {"policy": "demo", "key": "visitor-1"}
    replies: list[HttpReply] = []
    while len(replies) < 20 and (not replies or replies[-1].status == 200):
        replies.append(await client.request("POST", "/v1/limits/take", take, X_Api_Key=key))
    refused = replies[-1]
    admitted = sum(reply.status == 200 for reply in replies)
    yield TourStep(
        name="take until refused",
        expected="5 admitted, then 429",
        saw=f"{admitted} admitted, then {refused.status}",
        ok=(admitted, refused.status) == (5, 429),
    )
    wait_ms = refused.json.get("retry_after_ms") or 0
    fields = refused.headers.get("ratelimit", "none")
    yield TourStep(
        name="the refusal says when to retry",
        expected="Retry-After and RateLimit",
        saw=f"{wait_ms} ms; RateLimit: {fields}",
        ok=wait_ms > 0 and "retry-after" in refused.headers,
    )
    await asyncio.sleep(wait_ms / 1000)
    again = await client.request("POST", "/v1/limits/take", take, X_Api_Key=key)
    yield _status(f"take again after {wait_ms} ms", again, 200)


async def _results(client: HttpConnections, key: str) -> AsyncGenerator[TourStep]:
    question = {"input": "Guten Morgen, wie geht es Ihnen heute?"}
    for expected in ("MISS", "HIT"):
        began_s = time.perf_counter()
        reply = await client.request("POST", "/v1/ai/langid", question, X_Api_Key=key)
        took_ms = (time.perf_counter() - began_s) * 1000
        seen = reply.headers.get("x-cache", "none")
        output = reply.json.get("output", reply.json.get("detail"))
        yield TourStep(
            name=f"ask the AI model ({expected})",
            expected=f"200, X-Cache {expected}",
            saw=f"{reply.status}, X-Cache {seen}, {output} in {took_ms:.1f} ms",
            ok=reply.status == 200 and seen == expected,
        )


async def _sessions(client: HttpConnections, user: str, password: str) -> AsyncGenerator[TourStep]:
    tokens: list[str] = []
    for number in (1, 2):
        reply = await client.request("POST", "/v1/login", {"user": user, "password": password, "transport": "bearer"})
        yield _status(f"log in on device {number}", reply, 200)
        tokens.append(str(reply.json.get("token", "")))
    mine, other = (f"Bearer {token}" for token in tokens)
    current = await client.request("GET", "/v1/session", Authorization=other)
    yield _status("device 2 reads its session", current, 200)
    response = await client.request("GET", "/v1/sessions", Authorization=mine)
    devices = response.json.get("sessions", [])
    yield TourStep(name="list my devices", expected="2 sessions", saw=f"{len(devices)} sessions", ok=len(devices) == 2)
    others = [device["sid"] for device in devices if not device["current"]]
    for sid in others:
        yield _status(
            "device 1 revokes device 2", await client.request("DELETE", f"/v1/sessions/{sid}", Authorization=mine), 204
        )
    yield _status("device 2 is refused", await client.request("GET", "/v1/session", Authorization=other), 401)
    yield _status("device 1 is still logged in", await client.request("GET", "/v1/session", Authorization=mine), 200)
    yield _status("device 1 logs out", await client.request("POST", "/v1/logout", Authorization=mine), 204)
    yield _status("device 1 is refused", await client.request("GET", "/v1/session", Authorization=mine), 401)


def _status(name: str, reply: HttpReply, expected: int) -> TourStep:
    detail = "" if reply.status == expected else f" {reply.json.get('detail', '')}"
    return TourStep(name=name, expected=str(expected), saw=f"{reply.status}{detail}", ok=reply.status == expected)
