"""P4: whatever ends a session at whichever await of a verb, the session stays dead, for every token of it."""

from __future__ import annotations

from itertools import count

import pytest

from tests.spec.stored import assert_sound, index, records
from tollhouse.sessions.outcomes import CapReached, Issued
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import DataRefused
from tollhouse.sessions.verbs.step_up import StepUpRefused

MINUTE_MS = 60_000
POLICIES = {
    "default": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS, renew_ms=MINUTE_MS),
    "asking": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS, cap=1, at_cap="ask"),
    "single": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS, cap=1),
    "impersonation": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS),
}


class Interleaved:
    """A store that another call overtakes: before or after the calls of a verb, at one of these points."""

    def __init__(self, store, point, overtake):
        self.store, self.left, self.overtake = store, point, overtake

    @property
    def overtaken(self):
        return self.left < 0

    async def run(self, script, keys, args):
        return await self._between(self.store.run, script, keys, args)

    async def run_durably(self, script, keys, args):
        return await self._between(self.store.run_durably, script, keys, args)

    async def _between(self, run, *call):
        await self._pass_point()
        reply = await run(*call)
        await self._pass_point()
        return reply

    async def _pass_point(self):
        self.left -= 1
        if self.left == -1:
            await self.overtake()


async def verify(sessions, token, user):
    await sessions.verify(token)


async def look(sessions, token, user):
    await sessions.verify(token, passive=True)


async def rotate(sessions, token, user):
    return await sessions.rotate(token)


async def renew(sessions, token, user):
    return await sessions.renew(token)


async def step_up(sessions, token, user):
    return await sessions.step_up(token, acr="aal2")


async def create(sessions, token, user):
    await sessions.create(user)


async def list_all(sessions, token, user):
    await sessions.list(user)


async def impersonate(sessions, token, user):
    admin = await sessions.create(f"admin of {user}")
    who = {"actor": admin.session.user, "actor_sid": admin.session.sid, "reason": "ticket 4711"}
    await sessions.impersonate(user, **who)


async def patch(sessions, token, user):
    await sessions.patch(token, {"a": 1, "b": None})


async def take(sessions, token, user):
    await sessions.take(token, "b")


async def increment(sessions, token, user):
    await sessions.increment(token, "n")


async def resume(sessions, token, user):
    asked = await sessions.create(user, policy="asking")
    if isinstance(asked, CapReached):
        await sessions.resume(asked.ticket, end=[token.sid])


async def revoke(world, sessions, issued):
    await sessions.revoke(issued.session.user, issued.session.sid)


async def revoke_all(world, sessions, issued):
    await sessions.revoke_all(issued.session.user)


async def evict(world, sessions, issued):
    assert isinstance(await sessions.create(issued.session.user, policy="single"), Issued)


async def expire(world, sessions, issued):
    await world.advance(60 * MINUTE_MS)


async def disable(world, sessions, issued):
    await sessions.disable(issued.session.user)


async def disable_and_enable(world, sessions, issued):
    await sessions.disable(issued.session.user)
    await sessions.enable(issued.session.user)


async def stop(world, sessions, issued):
    await sessions.stop_impersonating(issued.token, "no token")


async def revoke_the_actor(world, sessions, issued):
    acting = issued.session.impersonation
    await sessions.revoke(acting.actor, acting.actor_sid)


VERBS = [verify, look, rotate, renew, step_up, create, impersonate, list_all, patch, take, increment, resume]
ENDS = [revoke, revoke_all, evict, expire, disable, disable_and_enable]
ENDS_OF_IMPERSONATIONS = [stop, revoke_the_actor, revoke, revoke_all, expire]


def opened(world, store=None):
    """Open sessions as a process does that knows of no revocation."""
    return Sessions(store or world.stores.sessions, world.keyring, world.metrics, POLICIES)


@pytest.mark.asvs("7.4.1")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("verb", VERBS)
async def test_no_verb_brings_a_session_back(world, verb, end):
    """The end comes from another process, at each point in turn: before, between and after the calls of the verb."""
    await assert_ended(world, verb, end, lambda number: opened(world).create(f"user {number}"))


@pytest.mark.parametrize("end", ENDS_OF_IMPERSONATIONS)
@pytest.mark.parametrize("verb", [verify, impersonate, patch])
async def test_no_verb_brings_an_impersonation_back(world, verb, end):
    """The same, for the session of an administrator who acts as a user."""

    async def begin(number):
        admin = await opened(world).create(f"admin {number}")
        who = {"actor": admin.session.user, "actor_sid": admin.session.sid, "reason": "ticket 4711"}
        return await opened(world).impersonate(f"user {number}", **who)

    await assert_ended(world, verb, end, begin)


async def assert_ended(world, verb, end, begin):
    """Check that a session stays dead that ends at any point of a verb; `begin` makes the session of a number."""
    for point in count():
        issued = await begin(point)
        await world.advance(2 * MINUTE_MS)
        await opened(world).patch(issued.token, {"b": 1})
        sid = issued.session.sid

        async def overtake(issued=issued):
            await end(world, opened(world), issued)

        store = Interleaved(world.stores.sessions, point, overtake)
        sessions = opened(world, store)
        found = await verb(sessions, issued.token, issued.session.user)
        await sessions.aclose()
        if not store.overtaken:
            break

        for token in (issued.token, *([found.token] if found else [])):
            assert await opened(world).verify(token) is None, f"point {point}"
            assert await opened(world).renew(token) is None
            assert await opened(world).rotate(token) is None
            assert await opened(world).step_up(token) == StepUpRefused(reason="over")
            assert await opened(world).patch(token, {"a": 1}) == DataRefused(reason="over")
            assert await opened(world).data(token) is None
        assert sid not in {record.sid for record in await records(world)}
        assert sid not in {other for _, other in await index(world) if other == sid}
        await assert_sound(world)
    assert point >= 2, "a verb has a point before its call and one after it"
