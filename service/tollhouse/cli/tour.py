"""The steps of the demo: HTTP requests, with the expected and the actual response."""

from __future__ import annotations

import http.client
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

_READY_S = 15.0


class TourStep(Struct, frozen=True, kw_only=True):
    """One step: what was expected, and what happened."""

    name: str
    expected: str
    saw: str
    ok: bool


class TourReply(Struct, frozen=True, kw_only=True):
    """An HTTP response: status, headers with lower-case names, and the JSON object, empty if there is none."""

    status: int
    headers: Mapping[str, str]
    json: dict[str, Any]


class TourClient:
    """One keep-alive connection to the service."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> TourReply:
        """Send one request; an underscore in a header name stands for a hyphen."""
        request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            request_headers["Content-Type"] = "application/json"
        self._connection.request(method, path, data, request_headers)
        response = self._connection.getresponse()
        content = response.read()
        is_json = "json" in response.headers.get("content-type", "")
        return TourReply(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            json=msgspec.json.decode(content, type=dict[str, Any]) if content and is_json else {},
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def take_tour(address: str, admin_key: str) -> Iterator[TourStep]:
    """Run the steps in order; a step that fails does not stop the others."""
    client = TourClient(address)
    try:
        yield _ready(client)
        user = f"demo-{secrets.token_hex(4)}"
        password = f"tour {secrets.token_urlsafe(16)}"
        yield from _accounts(client, user, password)
        yield from _limits(client, admin_key)
        yield from _results(client, admin_key)
        yield from _sessions(client, user, password)
    finally:
        client.close()


def _ready(client: TourClient) -> TourStep:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            reply = client.ask("GET", "/readyz")
        except OSError as error:
            if time.monotonic() > deadline_s:
                return _step("service is ready", "200", f"no answer: {error}", ok=False)
            client.close()
            time.sleep(0.05)
        else:
            cache = reply.json["cache"]
            return _step(
                "service is ready", "200, cache connected", f"{reply.status}, cache {cache}", ok=reply.status == 200
            )


def _accounts(client: TourClient, user: str, password: str) -> Iterator[TourStep]:
    credentials = {"user": user, "password": password}
    made = client.ask("POST", "/v1/accounts", credentials)
    yield _status("sign up", made, 201)
    taken = client.ask("POST", "/v1/accounts", credentials)
    yield _status("sign up again with the same name", taken, 409)
    wrong = client.ask("POST", "/v1/login", {"user": user, "password": "not the password at all"})
    yield _status("log in with a wrong password", wrong, 401)


def _limits(client: TourClient, key: str) -> Iterator[TourStep]:
    take = {"policy": "demo", "key": "visitor-1"}
    replies: list[TourReply] = []
    while len(replies) < 20 and (not replies or replies[-1].status == 200):
        replies.append(client.ask("POST", "/v1/limits/take", take, X_Api_Key=key))
    refused = replies[-1]
    admitted = sum(reply.status == 200 for reply in replies)
    yield _step(
        "take until refused",
        "5 admitted, then 429",
        f"{admitted} admitted, then {refused.status}",
        ok=(admitted, refused.status) == (5, 429),
    )
    wait_ms = refused.json.get("retry_after_ms") or 0
    fields = refused.headers.get("ratelimit", "none")
    yield _step(
        "the refusal says when to retry",
        "Retry-After and RateLimit",
        f"{wait_ms} ms; RateLimit: {fields}",
        ok=wait_ms > 0 and "retry-after" in refused.headers,
    )
    time.sleep(wait_ms / 1000)
    again = client.ask("POST", "/v1/limits/take", take, X_Api_Key=key)
    yield _status(f"take again after {wait_ms} ms", again, 200)


def _results(client: TourClient, key: str) -> Iterator[TourStep]:
    question = {"input": "Guten Morgen, wie geht es Ihnen heute?"}
    for expected in ("MISS", "HIT"):
        began_s = time.perf_counter()
        reply = client.ask("POST", "/v1/ai/langid", question, X_Api_Key=key)
        took_ms = (time.perf_counter() - began_s) * 1000
        seen = reply.headers.get("x-cache", "none")
        output = reply.json.get("output", reply.json.get("detail"))
        yield _step(
            f"ask the AI model ({expected})",
            f"200, X-Cache {expected}",
            f"{reply.status}, X-Cache {seen}, {output} in {took_ms:.1f} ms",
            ok=reply.status == 200 and seen == expected,
        )


def _sessions(client: TourClient, user: str, password: str) -> Iterator[TourStep]:
    tokens: list[str] = []
    for number in (1, 2):
        reply = client.ask("POST", "/v1/login", {"user": user, "password": password, "transport": "bearer"})
        yield _status(f"log in on device {number}", reply, 200)
        tokens.append(str(reply.json.get("token", "")))
    mine, other = (f"Bearer {token}" for token in tokens)
    current = client.ask("GET", "/v1/session", Authorization=other)
    yield _status("device 2 reads its session", current, 200)
    response = client.ask("GET", "/v1/sessions", Authorization=mine)
    devices = response.json.get("sessions", [])
    yield _step("list my devices", "2 sessions", f"{len(devices)} sessions", ok=len(devices) == 2)
    others = [device["sid"] for device in devices if not device["current"]]
    for sid in others:
        yield _status("device 1 revokes device 2", client.ask("DELETE", f"/v1/sessions/{sid}", Authorization=mine), 204)
    yield _status("device 2 is refused", client.ask("GET", "/v1/session", Authorization=other), 401)
    yield _status("device 1 is still logged in", client.ask("GET", "/v1/session", Authorization=mine), 200)
    yield _status("device 1 logs out", client.ask("POST", "/v1/logout", Authorization=mine), 204)
    yield _status("device 1 is refused", client.ask("GET", "/v1/session", Authorization=mine), 401)


def _status(name: str, reply: TourReply, expected: int) -> TourStep:
    detail = "" if reply.status == expected else f" {reply.json.get('detail', '')}"
    return _step(name, str(expected), f"{reply.status}{detail}", ok=reply.status == expected)


def _step(name: str, expected: str, saw: str, *, ok: bool) -> TourStep:
    return TourStep(name=name, expected=expected, saw=saw, ok=ok)
