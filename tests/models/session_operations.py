"""Random operations on the sessions of a few users, in two processes, each compared with the model at once."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final

from tests.models.session_model import Expected
from tests.spec.stored import assert_sound, index, records
from tests.worlds import World
from tollhouse.sessions.outcomes import Issued, SessionRefused
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import DataRefused, DataResult, SessionData
from tollhouse.sessions.verbs.rotator import GRACE_MS
from tollhouse.sessions.verbs.step_up import StepUpRefused

UNIT_MS: Final = 30_000
"""All times are multiples of it: what a real server takes meanwhile is far less, and ends are met exactly."""
assert UNIT_MS == GRACE_MS
POLICIES: Final = {
    "brief": SessionPolicy(idle_ms=2 * UNIT_MS, absolute_ms=6 * UNIT_MS, cap=3),
    "default": SessionPolicy(idle_ms=20 * UNIT_MS, absolute_ms=60 * UNIT_MS, cap=5, renew_ms=4 * UNIT_MS),
    "refusing": SessionPolicy(
        idle_ms=10 * UNIT_MS, absolute_ms=30 * UNIT_MS, cap=4, at_cap="refuse", renew_ms=2 * UNIT_MS
    ),
    "locking": SessionPolicy(
        idle_ms=3 * UNIT_MS, absolute_ms=20 * UNIT_MS, cap=4, renew_ms=2 * UNIT_MS, on_idle="lock"
    ),
}
_USERS: Final = ("ada", "bob", "eve")
_NAMES: Final = "abc"
_REMEMBERED: Final = 40
"""So many of the latest sessions are presented, those that are over too."""
_PAUSES: Final = (*(1, 1, 1, 1, 2, 2, 3, 4, 8, 20, 60) * 2, 2_880)
"""The last is a day, after which the store has forgotten why sessions ended."""


class Operations:
    """A run of random operations; its processes share no revocation log, so that the store alone decides."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = rng = random.Random(seed)
        self._processes = [
            Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES, random_bytes=rng.randbytes)
            for _ in range(2)
        ]
        self._made: list[Expected] = []
        self._disabled: set[str] = set()
        self._verbs: dict[Callable[[], Awaitable[None]], int] = {
            self._create: 18,
            self._create_in_place_of: 2,
            self._verify: 24,
            self._verify_passively: 6,
            self._verify_the_former: 4,
            self._rotate: 3,
            self._step_up: 3,
            self._renew: 8,
            self._patch: 9,
            self._take: 3,
            self._increment: 3,
            self._revoke: 3,
            self._revoke_others: 1,
            self._revoke_all: 1,
            self._disable: 1,
            self._enable: 3,
            self._why: 6,
            self._advance: 9,
        }

    async def run(self, number: int, check_every: int) -> None:
        """Perform so many operations, and look at everything that is stored after each part of them."""
        for _ in range(0, number, check_every):
            for verb in self._rng.choices(list(self._verbs), list(self._verbs.values()), k=check_every):
                await verb()
            await self._check()

    @property
    def _now_ms(self) -> int:
        return self._world.now_ms

    @property
    def _sessions(self) -> Sessions:
        return self._rng.choice(self._processes)

    def _one(self) -> Expected | None:
        """Return a session, mostly one that may live."""
        latest = self._made[-_REMEMBERED:]
        live = [each for each in latest if each.alive(self._now_ms)]
        return self._rng.choice(live if live and self._rng.random() < 0.8 else latest) if latest else None

    def _stored(self, user: str) -> list[Expected]:
        return [each for each in self._made if each.first.user == user and each.stored(self._now_ms)]

    def _end(self, user: str, reason: str, kept: Expected | None = None) -> None:
        for each in self._stored(user):
            if each is not kept:
                each.end(reason, self._now_ms)

    async def _create(self, replaces: Expected | None = None) -> None:
        user, policy = self._rng.choice(_USERS), self._rng.choice(list(POLICIES))
        rules = POLICIES[policy]
        token = None if replaces is None else replaces.token
        issued = await self._sessions.create(user, policy=policy, replaces=token)
        if replaces is not None:
            replaces.end("replaced", self._now_ms)
        live = self._stored(user)
        if user in self._disabled:
            assert issued == SessionRefused(reason="disabled")
        elif len(live) >= rules.cap and rules.at_cap == "refuse":
            assert issued == SessionRefused(reason="at-cap")
        else:
            live.sort(key=lambda one: (one.stored_end_ms, one.first.sid))
            for each in live[: max(0, len(live) - rules.cap + 1)]:
                each.end("evicted", self._now_ms)
            assert isinstance(issued, Issued)
            self._made.append(Expected(issued, rules))

    async def _create_in_place_of(self) -> None:
        await self._create(self._one())

    async def _verify(self) -> None:
        if (each := self._one()) is None:
            return
        session = await self._verified(each.token)
        assert (session is not None) == each.alive(self._now_ms)
        if session is None:
            return
        assert session.renewal_due == each.renewal_due(self._now_ms)
        each.touch(self._now_ms)
        each.present(self._now_ms)
        assert (session.last_seen_at, session.idle_expires_at) == (each.seen_ms, each.end_ms)
        assert (session.created_at, session.expires_at) == (each.first.created_at, each.last_end_ms)

    async def _verify_passively(self) -> None:
        if (each := self._one()) is None:
            return
        session = await self._verified(each.token, passive=True)
        assert (session is not None) == each.alive(self._now_ms)
        if session is not None:
            each.present(self._now_ms)
            assert (session.last_seen_at, session.idle_expires_at) == (each.seen_ms, each.end_ms)

    async def _verify_the_former(self) -> None:
        each = self._one()
        if each is None or each.former is None:
            return
        session = await self._verified(each.former)
        assert (session is not None) == (each.alive(self._now_ms) and each.in_grace(self._now_ms))
        if session is not None:
            each.touch(self._now_ms)
        elif each.alive(self._now_ms):
            each.end("reused", self._now_ms)

    async def _rotate(self) -> None:
        if (each := self._one()) is None:
            return
        rotation = await self._sessions.rotate(each.token)
        assert (rotation is not None) == each.alive(self._now_ms)
        if rotation is not None:
            assert rotation.token != each.token
            each.rotate(rotation.token, self._now_ms)
            each.touch(self._now_ms)

    async def _step_up(self) -> None:
        if (each := self._one()) is None:
            return
        stored = each.stored(self._now_ms)
        stepped = await self._sessions.step_up(each.token)
        if isinstance(stepped, StepUpRefused):
            assert not stored
            return
        assert stored
        each.rotate(stepped.token, self._now_ms)
        each.step_up(self._now_ms)
        session = stepped.session
        assert (session.last_seen_at, session.authenticated_at) == (self._now_ms, self._now_ms)
        assert (session.idle_expires_at, session.expires_at) == (each.end_ms, each.last_end_ms)

    async def _renew(self) -> None:
        if (each := self._one()) is None:
            return
        rotation = await self._sessions.renew(each.token)
        assert (rotation is not None) == each.alive(self._now_ms)
        if rotation is None:
            return
        assert (rotation.token != each.token) == each.renewal_due(self._now_ms)
        if rotation.token != each.token:
            each.renew(rotation.token)
        each.touch(self._now_ms)

    async def _patch(self) -> None:
        if (each := self._one()) is None:
            return
        values = (None, 1, 2, "text", [True])
        names = self._rng.sample(_NAMES, self._rng.randint(1, 3))
        changes = {name: self._rng.choice(values) for name in names}
        version = self._rng.choice((None, None, each.version, each.version + 1))
        result = await self._sessions.patch(each.token, changes, version=version)
        if not each.alive(self._now_ms):
            assert result == DataRefused(reason="over")
        elif version not in (None, each.version):
            assert result == DataRefused(reason="version", version=each.version)
        else:
            each.version += 1
            assert result == DataResult(version=each.version)
            each.data = {name: value for name, value in (each.data | changes).items() if value is not None}

    async def _take(self) -> None:
        if (each := self._one()) is None:
            return
        name = self._rng.choice(_NAMES)
        result = await self._sessions.take(each.token, name)
        if not each.alive(self._now_ms):
            assert result == DataRefused(reason="over")
            return
        each.version += name in each.data
        assert result == DataResult(version=each.version, value=each.data.pop(name, None))

    async def _increment(self) -> None:
        if (each := self._one()) is None:
            return
        result, old = await self._sessions.increment(each.token, "n", 3), each.data.get("n", 0)
        if not each.alive(self._now_ms):
            assert result == DataRefused(reason="over")
            return
        each.data["n"], each.version = old + 3, each.version + 1
        assert result == DataResult(version=each.version, value=old + 3)

    async def _revoke(self) -> None:
        if (each := self._one()) is None:
            return
        user = self._rng.choice((each.first.user, each.first.user, *_USERS))
        stored = each.stored(self._now_ms) and user == each.first.user
        result = await self._sessions.revoke(user, each.first.sid)
        assert result.found == stored
        if stored:
            each.end("revoked", self._now_ms)

    async def _revoke_others(self) -> None:
        if (each := self._one()) is None:
            return
        await self._sessions.revoke_all(each.first.user, keep=each.first)
        self._end(each.first.user, "revoked-all", each)

    async def _revoke_all(self) -> None:
        user = self._rng.choice(_USERS)
        await self._sessions.revoke_all(user)
        self._end(user, "revoked-all")

    async def _disable(self) -> None:
        user = self._rng.choice(_USERS)
        await self._sessions.disable(user)
        self._disabled.add(user)
        self._end(user, "disabled")

    async def _enable(self) -> None:
        user = self._rng.choice(sorted(self._disabled) or _USERS)
        await self._sessions.enable(user)
        self._disabled.discard(user)

    async def _why(self) -> None:
        if (each := self._one()) is None:
            return
        told = await self._sessions.why(each.token)
        expected = each.why(self._now_ms)
        assert (told is None) == (expected is None)
        if told is not None and expected is not None:
            reason, at = expected
            assert reason == told.reason or self._ended_by_itself(reason, told.reason)
            assert at - self._world.real_elapsed_ms - 5 <= told.at <= at

    def _ended_by_itself(self, *reasons: str) -> bool:
        """Return whether an end by time may be told as another: real time shortens the life that the store knows."""
        return self._world.real_elapsed_ms > 900 and {"idle", "expired"}.issuperset(reasons)

    async def _advance(self) -> None:
        ms = self._rng.choice(_PAUSES) * UNIT_MS
        await self._world.advance(ms)
        for each in self._made:
            each.advance(ms)
        self._made = [each for each in self._made if each.stored(self._now_ms)] + [
            each for each in self._made[-_REMEMBERED:] if not each.stored(self._now_ms)
        ]

    async def _verified(self, token: object, *, passive: bool = False) -> object:
        """Verify, and let the touch that follows be written."""
        sessions = self._sessions
        session = await sessions.verify(token, passive=passive)
        await sessions.aclose()
        return session

    async def _check(self) -> None:
        """Compare what is listed, stored and indexed with the model."""
        for user in _USERS:
            shown = await self._sessions.list(user)
            listed = {one.sid: (one.last_seen_at, one.idle_expires_at, one.locked) for one in shown}
            assert listed == {
                each.first.sid: (each.seen_ms, each.end_ms, not each.alive(self._now_ms)) for each in self._stored(user)
            }
        stored = [each for each in self._made if each.stored(self._now_ms)]
        sids = {each.first.sid for each in stored}
        assert {record.sid for record in await records(self._world)} == sids
        assert {sid for (_, sid), end_ms in (await index(self._world)).items() if end_ms > self._now_ms} == sids
        for each in (one for one in stored if one.alive(self._now_ms)):
            expected = SessionData(values=each.data, version=each.version)
            assert await self._sessions.data(each.token) == expected
        await assert_sound(self._world)
