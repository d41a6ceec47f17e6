"""Tollhouse as a library under drill: the operations as an application calls them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tollhouse.drill.clients.client import OWN, OWN_UNITS, CallResult, ClientState, fingerprint, shared_take
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.errors import Overloaded, StoreUnavailable
from tollhouse.limits.calls.batcher import TAKES_MAX
from tollhouse.limits.decision import Take
from tollhouse.sessions.outcomes import Issued
from tollhouse.wiring import Tollhouse


class LibraryClient:
    """Calls limits, sessions and cache of one `Tollhouse`."""

    def __init__(self, tollhouse: Tollhouse) -> None:
        self._tollhouse = tollhouse
        self._issued: dict[str, Issued] = {}

    async def call(self, operation: Operation, subject: str) -> CallResult:
        """Do one operation on one subject."""
        match operation:
            case "take":
                return await self._take(subject)
            case "hot":
                shared, trace = await self._tollhouse.limits.take_batch(shared_take(subject))
                return CallResult(accepted=shared.allowed, degraded=shared.degraded or trace.degraded)
            case "create":
                return await self._create(subject)
            case "verify":
                session = await self._tollhouse.sessions.verify(self._issued[subject].token)
                return CallResult(accepted=session is not None, foreign=session is not None and session.user != subject)
            case "revoke":
                revoked = await self._tollhouse.sessions.revoke(subject, self._issued[subject].session.sid)
                return CallResult(accepted=revoked.found, durable=revoked.durable)
            case "put" | "get":
                return await self._cached(subject)

    def failure(self, error: BaseException) -> Failure:
        """Return what a call that raised `error` may have done: the error itself says so."""
        if isinstance(error, Overloaded):
            return "not-sent"
        return error.outcome if isinstance(error, StoreUnavailable) else "defect"

    async def surviving(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Return those subjects whose take or live session a server has."""
        takes = [subject for subject in subjects if subject.startswith(("take", "hot"))]
        users = [subject for subject in subjects if subject.startswith("create")]
        alive = {user for user in users if await server.sessions.list(user) or await self._accepted(server, user)}
        return alive | await _with_takes(server, takes)

    def state(self) -> ClientState:
        """Return the state of the stores."""
        stores = self._tollhouse.stores.all()
        health = stores[0].health()
        generation = None if health is None else health.generation
        return ClientState(
            in_flight=sum(store.in_flight for store in stores),
            connections=sum(store.connections for store in stores),
            generation=None if generation is None else generation.number,
            generation_s=0.0 if generation is None else generation.at_s,
        )

    def token(self, subject: str) -> str:
        """Return the token of a session that was created here."""
        return self._issued[subject].token.reveal()

    async def _take(self, subject: str) -> CallResult:
        """Take as many units as no neighbouring call takes: the rest of a fresh key shows whose reply it is."""
        cost = fingerprint(subject)
        decision = await self._tollhouse.limits.take(OWN, subject, cost)
        if decision.degraded:
            return CallResult(accepted=decision.allowed, degraded=True)
        return CallResult(accepted=decision.allowed, foreign=OWN_UNITS - decision.limits[0].remaining != cost)

    async def _create(self, user: str) -> CallResult:
        issued = await self._tollhouse.sessions.create(user)
        if not isinstance(issued, Issued):
            return CallResult(accepted=False)
        self._issued[user] = issued
        return CallResult(durable=issued.durable, foreign=issued.session.user != user)

    async def _cached(self, key: str) -> CallResult:
        """Load or read a value that is its own key, so that a reader sees whether it is the right one."""

        async def load() -> str:
            return key

        found = await self._tollhouse.cache.fetch(f"drill:{key}", load, ttl_s=3600)
        return CallResult(degraded=found.status == "BYPASS", foreign=found.value != key)

    async def _accepted(self, server: Tollhouse, user: str) -> bool:
        issued = self._issued.get(user)
        return issued is not None and await server.sessions.verify(issued.token) is not None


async def _with_takes(server: Tollhouse, subjects: Sequence[str]) -> set[str]:
    """Return the subjects from which something was taken: a take of cost 0 shows less than all units left."""
    found: set[str] = set()
    for start in range(0, len(subjects), TAKES_MAX):
        looks = [Take(policy=OWN, key=subject, cost=0) for subject in subjects[start : start + TAKES_MAX]]
        decisions = await server.limits.take_batch(looks)
        found |= {decision.key for decision in decisions if decision.limits[0].remaining < OWN_UNITS}
    return found
