"""Tollhouse as a service under drill: the operations over HTTP, against two worker processes.

Sessions are created through the library, as in an application that logs its users in itself. The service's own login
hashes a password each time and is rate limited, so the drill would measure that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from msgspec import convert

from tollhouse.drill.clients.client import OWN, OWN_UNITS, CallResult, ClientState, fingerprint, shared_take
from tollhouse.drill.clients.http_connection import HttpConnections, HttpReply
from tollhouse.drill.clients.library import LibraryClient
from tollhouse.drill.clients.service_process import ServiceProcess
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.errors import Outcome
from tollhouse.limits.decision import Decision
from tollhouse.wiring import Tollhouse

_MODEL: Final = "langid"
_WARM_UP_TURNS: Final = 3
_WARM_UP_CALLS: Final = 16


class UnexpectedStatus(Exception):
    """The service answered with a status that the operation does not expect."""

    def __init__(self, reply: HttpReply) -> None:
        self.status = reply.status
        self.outcome: Outcome = reply.json.get("outcome", "ambiguous")
        super().__init__(f"{reply.status}: {reply.json.get('detail', '')}")


class HttpClient:
    """Calls a service; `library` creates the sessions."""

    def __init__(self, service: ServiceProcess, library: LibraryClient) -> None:
        self._http = HttpConnections(service.address)
        self._key = service.key
        self._library = library

    async def warm_up(self) -> None:
        """Call every worker's model once; the first call would otherwise measure how long the model loads."""
        for turn in range(_WARM_UP_TURNS):
            calls = (self.call("put", f"put-{turn}-{number}") for number in range(_WARM_UP_CALLS))
            await asyncio.gather(*calls, return_exceptions=True)

    async def call(self, operation: Operation, subject: str) -> CallResult:
        """Do one operation on one subject."""
        match operation:
            case "take":
                return await self._take(subject)
            case "hot":
                return await self._take_shared(subject)
            case "create":
                return await self._library.call(operation, subject)
            case "verify":
                reply = await self._http.request("GET", "/v1/session", Authorization=self._bearer(subject))
                accepted = _expect(reply, 200, 401) == 200
                return CallResult(accepted=accepted, foreign=accepted and reply.json.get("user") != subject)
            case "revoke":
                reply = await self._http.request("POST", "/v1/logout", Authorization=self._bearer(subject))
                return CallResult(accepted=_expect(reply, 204, 401) == 204)
            case "put" | "get":
                reply = await self._http.request("POST", f"/v1/ai/{_MODEL}", {"input": subject}, X_Api_Key=self._key)
                _expect(reply, 200)
                return CallResult(degraded=reply.headers.get("x-cache") == "BYPASS")

    def failure(self, error: BaseException) -> Failure:
        """Return what a request that raised `error` may have done: a 503 says so, or else it is unknown."""
        if isinstance(error, UnexpectedStatus):
            return error.outcome if error.status == 503 else "defect"
        if isinstance(error, OSError | TimeoutError):
            return "not-sent" if isinstance(error, ConnectionRefusedError) else "ambiguous"
        return self._library.failure(error)

    async def surviving(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Return those subjects whose take or live session a server has."""
        return await self._library.surviving(server, subjects)

    def state(self) -> ClientState:
        """Return an empty state: connections and generations belong to the workers."""
        return ClientState()

    async def aclose(self) -> None:
        """Close the connections to the service."""
        await self._http.aclose()

    async def _take(self, subject: str) -> CallResult:
        take = {"policy": OWN, "key": subject, "cost": fingerprint(subject)}
        reply = await self._http.request("POST", "/v1/limits/take", take, X_Api_Key=self._key)
        allowed = _expect(reply, 200, 429) == 200
        decision = convert(reply.json, Decision)
        left = None if decision.degraded else OWN_UNITS - decision.limits[0].remaining
        foreign = decision.key != subject or left not in (None, decision.cost)
        return CallResult(accepted=allowed, degraded=decision.degraded, foreign=foreign)

    async def _take_shared(self, subject: str) -> CallResult:
        takes = shared_take(subject)
        reply = await self._http.request("POST", "/v1/limits/take-batch", takes, X_Api_Key=self._key)
        _expect(reply, 200)
        shared, trace = convert(reply.json, list[Decision])
        foreign = [shared.key, trace.key] != [take.key for take in takes]
        return CallResult(accepted=shared.allowed, degraded=shared.degraded or trace.degraded, foreign=foreign)

    def _bearer(self, subject: str) -> str:
        return f"Bearer {self._library.token(subject)}"


def _expect(reply: HttpReply, *expected: int) -> int:
    if reply.status not in expected:
        raise UnexpectedStatus(reply)
    return reply.status
