"""Tollhouse's sessions under measurement: as they are, with a touch due at each verify, and users who have many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec.structs import replace

import tollhouse
from bench.session_library import SessionLibrary
from tollhouse import scripts
from tollhouse.keyring import Keyring
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.policies import CAP_MAX, POLICIES, SessionPolicy
from tollhouse.sessions.records import Session
from tollhouse.sessions.sessions import Sessions
from tollhouse.settings import Settings
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.urls import urls_by_store

NAME: Final = "Tollhouse"
TOUCHED: Final = "Tollhouse, with a touch"
SECRETS: Final = tuple(b"a secret of the benchmark, number %d" % number for number in range(10))
"""The newest first. A user may have `CAP_MAX` sessions under each."""
TOUCH_MS: Final = 61_000
"""The age of a use after which a verify has another one to record: more than a minute."""
_HOUR_MS: Final = 3_600_000
_MANY: Final = {"many": SessionPolicy(idle_ms=_HOUR_MS, absolute_ms=_HOUR_MS, cap=CAP_MAX)}
_CREATES: Final = 50
"""Sessions that are created at a time, to give a user many."""


@asynccontextmanager
async def ours(url: str, sessions: int) -> AsyncIterator[list[SessionLibrary]]:
    """Yield both on the server at this URL: a verify that has nothing to record, and one that has.

    `sessions` is the number of sessions that are verified in turn.
    """
    clock = _Clock(sessions)
    stores = open_stores(urls_by_store(url, {}), scripts.load(), Metrics(), clock=clock)
    touched = Sessions(stores.sessions, Keyring(secrets=SECRETS), Metrics())
    try:
        async with tollhouse.open(Settings(url=url, secret=SECRETS[:1])) as th:
            yield [_library(NAME, th.sessions), _touched(touched, clock)]
    finally:
        await touched.aclose()
        await stores.aclose()


class _Clock:
    """The time of a server by which each of so many sessions has a use to record whenever its turn comes again."""

    def __init__(self, sessions: int) -> None:
        self._now_ms = time.time_ns() // 1_000_000
        self._sessions = sessions
        self._verified = 0

    def __call__(self) -> int:
        return self._now_ms

    def begin(self) -> None:
        """Begin with the first session again."""
        self._verified = 0

    def verify(self) -> int:
        """Return the time at which the next session is verified: later than all before if it is the first again."""
        if self._verified % self._sessions == 0:
            self._now_ms += TOUCH_MS
        self._verified += 1
        return self._now_ms


def _library(name: str, sessions: Sessions) -> SessionLibrary:
    async def create(user: str) -> str:
        issued = await sessions.create(user)
        assert isinstance(issued, Issued)
        return issued.token.reveal()

    async def end(token: str) -> None:
        session = await sessions.verify(token, passive=True)
        assert session is not None
        await sessions.revoke(session.user, session.sid)

    return SessionLibrary(
        name=name,
        create=create,
        verify=sessions.verify,
        end=end,
        settle=sessions.aclose,
        verifies_by=("evalsha",),
        creates_by=("evalsha",),
        own=True,
    )


def _touched(sessions: Sessions, clock: _Clock) -> SessionLibrary:
    plain = _library(TOUCHED, sessions)

    async def create(user: str) -> str:
        clock.begin()
        return await plain.create(user)

    async def verify(token: str) -> Session | None:
        due_ms = clock.verify()
        session = await sessions.verify(token)
        assert session is None or session.last_seen_at >= due_ms, "no touch was due"
        return session

    return replace(plain, create=create, verify=verify)


@asynccontextmanager
async def opened_stores(url: str) -> AsyncIterator[Stores]:
    """Open the stores on the server at this URL."""
    stores = open_stores(urls_by_store(url, {}), scripts.load(), Metrics())
    try:
        yield stores
    finally:
        await stores.aclose()


async def filled(stores: Stores, user: str, count: int) -> Sessions:
    """Create so many sessions of a user, and return what can revoke them.

    The cap counts the sessions under one secret: a user has more than `CAP_MAX` only of a deployment whose secret was
    rotated, with sessions under each that is still configured.
    """
    used = SECRETS[: -(-count // CAP_MAX)]
    for number in range(len(used)):
        sessions = Sessions(stores.sessions, Keyring(secrets=used[number:]), Metrics(), _MANY)
        await _create(sessions, user, min(CAP_MAX, count - number * CAP_MAX))
    return Sessions(stores.sessions, Keyring(secrets=used), Metrics(), POLICIES)


async def _create(sessions: Sessions, user: str, count: int) -> None:
    for first in range(0, count, _CREATES):
        some = range(first, min(first + _CREATES, count))
        assert all(await asyncio.gather(*(sessions.create(user, policy="many") for _ in some)))
