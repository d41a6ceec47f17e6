"""The cap: how many sessions a user may have at a time."""

from __future__ import annotations

import asyncio

import pytest

from tests.sessions import verified
from tests.spec.stored import assert_sound, index, keys_of, records
from tollhouse.sessions.outcomes import Issued, SessionRefused
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions

HOUR_MS = 3_600_000
POLICIES = {
    "evicting": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=5),
    "refusing": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=5, at_cap="refuse"),
    "narrow": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS, cap=2),
}


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def test_a_hundred_logins_at_once_leave_exactly_the_cap(world, sessions):
    """The cap is exact: of 100 parallel logins with a cap of 5, 5 sessions live."""
    issued = await asyncio.gather(*(sessions.create("ada", policy="evicting") for _ in range(100)))

    alive = [await verified(sessions, each.token) for each in issued]

    assert sum(session is not None for session in alive) == 5
    assert len(await records(world)) == len(await sessions.list("ada")) == 5
    await assert_sound(world)


async def test_a_hundred_logins_at_once_are_refused_beyond_the_cap(world, sessions):
    """If the policy refuses at the cap, 5 of 100 parallel logins get a session, and all of these live."""
    answers = await asyncio.gather(*(sessions.create("ada", policy="refusing") for _ in range(100)))

    issued = [answer for answer in answers if isinstance(answer, Issued)]
    assert len(issued) == 5
    assert answers.count(SessionRefused(reason="at-cap")) == 95
    assert all([await verified(sessions, each.token) for each in issued])
    await assert_sound(world)


async def test_the_session_that_would_end_first_makes_room(world, sessions):
    """At the cap the least recently used session ends, not the one that began first."""
    used = await sessions.create("ada", policy="narrow")
    await world.advance(60_000)
    idle = await sessions.create("ada", policy="narrow")
    await world.advance(60_000)
    assert await verified(sessions, used.token) is not None

    new = await sessions.create("ada", policy="narrow")

    assert await verified(sessions, idle.token) is None
    assert await verified(sessions, used.token) is not None
    assert await verified(sessions, new.token) == new.session
    await assert_sound(world)


async def test_a_lower_cap_ends_as_many_as_it_takes(world, sessions):
    """A login under a lower cap leaves no more than that cap."""
    for _ in range(5):
        await sessions.create("ada", policy="evicting")

    new = await sessions.create("ada", policy="narrow")

    assert len(await sessions.list("ada")) == 2
    assert await verified(sessions, new.token) == new.session
    await assert_sound(world)


async def test_a_refusal_at_the_cap_writes_nothing(world, sessions):
    """A refused login leaves every key as it was."""
    for _ in range(5):
        await sessions.create("ada", policy="refusing")
    before = [record.fields for record in await records(world)], await keys_of(world, "sessions")

    assert await sessions.create("ada", policy="refusing") == SessionRefused(reason="at-cap")

    assert ([record.fields for record in await records(world)], await keys_of(world, "sessions")) == before
    await assert_sound(world)


async def test_sessions_that_are_over_take_no_place(world, sessions):
    """Sessions that expired, were revoked or were lost do not count towards the cap."""
    idle = [await sessions.create("ada", policy="refusing") for _ in range(2)]
    await world.advance(HOUR_MS // 2)
    ended, lost = [await sessions.create("ada", policy="refusing") for _ in range(2)]
    await sessions.revoke("ada", ended.session.sid)
    await world.advance(HOUR_MS // 2)
    await world.command("sessions", "DEL", next(r.key for r in await records(world) if r.sid == lost.session.sid))

    new = [await sessions.create("ada", policy="refusing") for _ in range(5)]

    assert all(isinstance(each, Issued) for each in new)
    assert [await verified(sessions, each.token) for each in (*idle, ended, lost)] == [None] * 4


async def test_a_login_removes_expired_sessions_from_the_index(world, sessions):
    """The index of a user who keeps logging in does not grow: each login drops the entries that are over."""
    for _ in range(3):
        new = await sessions.create("ada", policy="evicting")
        await world.advance(HOUR_MS // 2)
        await verified(sessions, new.token)
        await world.advance(HOUR_MS // 2)

    new = await sessions.create("ada", policy="evicting")

    assert {sid for _, sid in await index(world)} == {record.sid for record in await records(world)}
    assert new.session.sid in {sid for _, sid in await index(world)}


async def test_caps_are_of_one_user(world, sessions):
    """One user's sessions do not count towards another user's cap."""
    for _ in range(5):
        await sessions.create("ada", policy="refusing")

    assert isinstance(await sessions.create("eve", policy="refusing"), Issued)
