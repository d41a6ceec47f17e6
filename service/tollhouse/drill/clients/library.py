"""Tollhouse as a library under drill: the operations as an application calls them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from tollhouse.drill.clients.client import OWN, OWN_UNITS, Answer, State, fingerprint, shared_take, state_of
from tollhouse.drill.results.history import Failure, Operation
from tollhouse.errors import StoreUnavailable
from tollhouse.limits.calls.batcher import TAKES_MAX
from tollhouse.limits.decision import Take
from tollhouse.sessions.sessions import Issued
from tollhouse.wiring import Tollhouse


class Value(Struct, frozen=True):
    """What is cached: it carries its own key, so that a reader can tell whose it is."""

    key: str


class LibraryClient:
    """Calls limits, sessions and cache of one `Tollhouse`."""

    def __init__(self, tollhouse: Tollhouse) -> None:
        self._tollhouse = tollhouse
        self._issued: dict[str, Issued] = {}

    async def call(self, operation: Operation, subject: str) -> Answer:
        """Do one operation on one subject."""
        match operation:
            case "take":
                return await self._take(subject)
            case "hot":
                shared, trace = await self._tollhouse.limits.take_batch(shared_take(subject))
                return Answer(accepted=shared.allowed, degraded=shared.degraded or trace.degraded)
            case "create":
                return await self._create(subject)
            case "verify":
                session = await self._tollhouse.sessions.verify(self._issued[subject].token)
                return Answer(accepted=session is not None, foreign=session is not None and session.user != subject)
            case "revoke":
                revoked = await self._tollhouse.sessions.revoke(subject, self._issued[subject].session.sid)
                return Answer(accepted=revoked.found, durable=revoked.durable)
            case "put" | "get":
                return await self._cached(subject)

    def failure(self, error: BaseException) -> Failure:
        """Say what a call that raised this may have done: Tollhouse itself says it."""
        return error.outcome if isinstance(error, StoreUnavailable) else "defect"

    async def held(self, server: Tollhouse, subjects: Collection[str]) -> set[str]:
        """Tell which takes a server remembers, and which sessions live there."""
        takes = [subject for subject in subjects if subject.startswith(("take", "hot"))]
        users = [subject for subject in subjects if subject.startswith("create")]
        alive = {user for user in users if await server.sessions.list(user) or await self._accepted(server, user)}
        return alive | await _remembered(server, takes)

    def state(self) -> State:
        """Tell how the stores stand."""
        return state_of(self._tollhouse)

    def token(self, subject: str) -> str:
        """Give the token of a session that was begun here."""
        return self._issued[subject].token.reveal()

    async def _take(self, subject: str) -> Answer:
        """Take a number of units that no neighbour takes: what is left of a fresh key tells whose reply it is."""
        cost = fingerprint(subject)
        decision = await self._tollhouse.limits.take(OWN, subject, cost)
        if decision.degraded:
            return Answer(accepted=decision.allowed, degraded=True)
        return Answer(accepted=decision.allowed, foreign=OWN_UNITS - decision.limits[0].remaining != cost)

    async def _create(self, user: str) -> Answer:
        issued = await self._tollhouse.sessions.create(user)
        if not isinstance(issued, Issued):
            return Answer(accepted=False)
        self._issued[user] = issued
        return Answer(durable=issued.durable, foreign=issued.session.user != user)

    async def _cached(self, key: str) -> Answer:
        async def load() -> Value:
            return Value(key=key)

        found = await self._tollhouse.cache.fetch(key, load, ttl_s=3600, family="drill")
        return Answer(degraded=found.result == "BYPASS", foreign=found.value != {"key": key})

    async def _accepted(self, server: Tollhouse, user: str) -> bool:
        issued = self._issued.get(user)
        return issued is not None and await server.sessions.verify(issued.token) is not None


async def _remembered(server: Tollhouse, subjects: Sequence[str]) -> set[str]:
    """Look at keys without taking anything: one that was taken from has less than all left."""
    found: set[str] = set()
    for start in range(0, len(subjects), TAKES_MAX):
        looks = [Take(policy=OWN, key=subject, cost=0) for subject in subjects[start : start + TAKES_MAX]]
        decisions = await server.limits.take_batch(looks)
        found |= {decision.key for decision in decisions if decision.limits[0].remaining < OWN_UNITS}
    return found
