"""Tollhouse as a service under drill: the operations over HTTP, against two worker processes.

Sessions begin through the library, as in an application that logs its users in itself: the service's own login
hashes a password each time and is throttled, and would measure that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from msgspec import convert

from tollhouse.drill.clients.client import OWN, OWN_UNITS, Answer, State, fingerprint, shared_take
from tollhouse.drill.clients.http_connection import KeepAlive, Reply
from tollhouse.drill.clients.library import LibraryClient
from tollhouse.drill.clients.service_process import Service
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.limits.decision import Decision
from tollhouse.wiring import Tollhouse

_MODEL: Final = "langid"
_WARM_UP_TURNS: Final = 3
_WARM_UP_CALLS: Final = 16


class Refused(Exception):
    """The service answered with a status that the operation does not explain."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        super().__init__(f"{reply.status}: {reply.members.get('detail', '')}")


class HttpClient:
    """Calls a service; `library` begins the sessions."""

    def __init__(self, service: Service, library: LibraryClient) -> None:
        self._http = KeepAlive(service.host, service.port)
        self._key = service.key
        self._library = library

    async def warm_up(self) -> None:
        """Have every worker load its model, which would otherwise be measured with the first call that needs it."""
        for turn in range(_WARM_UP_TURNS):
            asked = (self.call("put", f"put-{turn}-{number}") for number in range(_WARM_UP_CALLS))
            await asyncio.gather(*asked, return_exceptions=True)

    async def call(self, operation: Operation, subject: str) -> Answer:
        """Do one operation on one subject."""
        match operation:
            case "take":
                return await self._take(subject)
            case "hot":
                return await self._take_shared(subject)
            case "create":
                return await self._library.call(operation, subject)
            case "verify":
                reply = await self._http.ask("GET", "/v1/session", Authorization=self._bearer(subject))
                accepted = _answered(reply, 200, 401) == 200
                return Answer(accepted=accepted, foreign=accepted and reply.members.get("user") != subject)
            case "revoke":
                reply = await self._http.ask("POST", "/v1/logout", Authorization=self._bearer(subject))
                return Answer(accepted=_answered(reply, 204, 401) == 204)
            case "put" | "get":
                reply = await self._http.ask("POST", f"/v1/ai/{_MODEL}", {"input": subject}, X_Api_Key=self._key)
                _answered(reply, 200)
                return Answer(degraded=reply.headers.get("x-cache") == "BYPASS")

    def failure(self, error: BaseException) -> Failure:
        """Say what a request that ended so may have done: 503 does not tell, another status was not expected."""
        if isinstance(error, Refused):
            return "ambiguous" if error.status == 503 else "defect"
        if isinstance(error, OSError | TimeoutError):
            return "not-sent" if isinstance(error, ConnectionRefusedError) else "ambiguous"
        return self._library.failure(error)

    async def held(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Tell which takes a server remembers, and which sessions live there."""
        return await self._library.held(server, subjects)

    def state(self) -> State:
        """Tell nothing: lanes and generations are those of the workers."""
        return State()

    async def aclose(self) -> None:
        """End the connections to the service."""
        await self._http.aclose()

    async def _take(self, subject: str) -> Answer:
        take = {"policy": OWN, "key": subject, "cost": fingerprint(subject)}
        reply = await self._http.ask("POST", "/v1/limits/take", take, X_Api_Key=self._key)
        allowed = _answered(reply, 200, 429) == 200
        decision = convert(reply.members, Decision)
        left = None if decision.degraded else OWN_UNITS - decision.limits[0].remaining
        foreign = decision.key != subject or left not in (None, decision.cost)
        return Answer(accepted=allowed, degraded=decision.degraded, foreign=foreign)

    async def _take_shared(self, subject: str) -> Answer:
        takes = shared_take(subject)
        reply = await self._http.ask("POST", "/v1/limits/take-batch", takes, X_Api_Key=self._key)
        _answered(reply, 200)
        shared, trace = convert(reply.items, list[Decision])
        foreign = [shared.key, trace.key] != [take.key for take in takes]
        return Answer(accepted=shared.allowed, degraded=shared.degraded or trace.degraded, foreign=foreign)

    def _bearer(self, subject: str) -> str:
        return f"Bearer {self._library.token(subject)}"


def _answered(reply: Reply, *expected: int) -> int:
    if reply.status not in expected:
        raise Refused(reply)
    return reply.status
