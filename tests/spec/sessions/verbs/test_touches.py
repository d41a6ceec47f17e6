"""What a verify leaves to be written: it follows the answer, which never depends on it."""

from __future__ import annotations

import asyncio

import pytest

from tests.sessions import verified
from tests.spec.stored import assert_sound, records
from tests.worlds import SCRIPTS
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.keys import UNNAMED
from tollhouse.sessions import tokens
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.presentation import Presentation
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.user_keys import UserKeys
from tollhouse.sessions.verbs.rotator import GRACE_MS
from tollhouse.sessions.verbs.touches import Touches
from tollhouse.stores.opening import open_stores
from tollhouse.stores.transport.redial import ConnectionTiming
from tollhouse.stores.urls import urls_by_store

MINUTE_MS = 60_000
POLICIES = {"default": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS)}
TOUCH = "sessions/touch"


class Seam:
    """A store of sessions whose touches a test counts, holds back, or makes fail."""

    def __init__(self, store):
        self.store = store
        self.failure = None
        self.touches = 0
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, script, keys, args):
        if script == TOUCH:
            self.touches += 1
            await self.open.wait()
            if self.failure is not None:
                raise self.failure
        return await self.store.run(script, keys, args)

    async def run_durably(self, script, keys, args):
        return await self.store.run_durably(script, keys, args)


@pytest.fixture
def seam(world):
    return Seam(world.stores.sessions)


@pytest.fixture
def sessions(world, seam):
    return Sessions(seam, world.keyring, world.metrics, POLICIES)


def counted(world, outcome):
    labels = {"operation": "touch", "outcome": outcome}
    return world.metrics.registry.get_sample_value("tollhouse_session_operations_total", labels) or 0


async def last_seen(world):
    (record,) = await records(world)
    return int(record.fields["l"])


async def test_an_answer_does_not_wait_for_its_touch(world, seam, sessions):
    """The session is answered while its touch is under way; the touch is written later, and counted."""
    issued = await sessions.create("ada")
    await world.advance(2 * MINUTE_MS)
    seam.open.clear()

    session = await sessions.verify(issued.token)

    assert (session.last_seen_at, session.idle_expires_at) == (world.now_ms, world.now_ms + 20 * MINUTE_MS)
    assert await last_seen(world) == issued.session.created_at
    seam.open.set()
    await sessions.aclose()
    assert await last_seen(world) == world.now_ms
    assert counted(world, "ok") == 1
    await assert_sound(world)


async def test_a_passive_request_does_not_prolong_a_session(world, seam, sessions):
    """However often a page polls by itself, the session ends at its idle end, which each answer tells unchanged."""
    issued = await sessions.create("ada")
    for _ in range(19):
        await world.advance(MINUTE_MS)
        session = await sessions.verify(issued.token, passive=True)
        assert (session.last_seen_at, session.idle_expires_at) == (
            issued.session.last_seen_at,
            issued.session.idle_expires_at,
        )
    await sessions.aclose()

    await world.advance(MINUTE_MS)

    assert await sessions.verify(issued.token, passive=True) is None
    assert seam.touches == 0


async def test_a_passive_request_presents_a_successor(world, seam, sessions):
    """The grace of a former secret begins with it, which is written, and no use with it."""
    policies = {"default": SessionPolicy(idle_ms=20 * MINUTE_MS, absolute_ms=60 * MINUTE_MS, renew_ms=MINUTE_MS)}
    sessions = Sessions(seam, world.keyring, world.metrics, policies)
    former = await sessions.create("ada")
    await world.advance(MINUTE_MS)
    renewed = await sessions.renew(former.token)
    used_at = renewed.session.last_seen_at
    await world.advance(2 * MINUTE_MS)

    assert (await sessions.verify(renewed.token, passive=True)).last_seen_at == used_at
    await sessions.aclose()
    await world.advance(GRACE_MS + 1)

    assert seam.touches == 1
    assert await last_seen(world) == used_at
    assert await sessions.verify(former.token, passive=True) is None
    assert await sessions.verify(renewed.token, passive=True) is None


async def test_a_passive_request_removes_what_is_over(world, seam, sessions):
    """A session that is found over is removed, whatever the request."""
    issued = await sessions.create("ada")
    world.step_back(-30 * MINUTE_MS)

    assert await sessions.verify(issued.token, passive=True) is None
    await sessions.aclose()

    assert await records(world) == []


async def test_most_verifies_touch_nothing(world, seam, sessions):
    """Until a touch is due a verify is one call, whether it finds a session or none."""
    issued = await sessions.create("ada")
    await world.advance(MINUTE_MS - 1)

    for token in (issued.token, issued.token.reveal() + "x", issued.token.reveal()[:-4] + "aaaa"):
        await verified(sessions, token)

    assert seam.touches == 0


@pytest.mark.parametrize(
    "failure", [StoreUnavailable("sessions", "rejected", "NOREPLICAS"), ConfigurationError("a", 1, "b")]
)
async def test_a_touch_that_fails_is_counted_and_sent_again(world, seam, sessions, failure):
    """No caller sees that the use could not be recorded; the next verify records that one."""
    issued = await sessions.create("ada")
    await world.advance(2 * MINUTE_MS)
    seam.failure = failure

    assert await verified(sessions, issued.token) is not None
    seam.failure = None
    assert await verified(sessions, issued.token) is not None

    assert (counted(world, "failed"), counted(world, "ok")) == (1, 1)
    assert await last_seen(world) == world.now_ms


async def test_while_touches_fail_a_session_lives_to_its_last_recorded_idle_end(world, seam, sessions):
    """The cost of an outage of writes: a session in use ends as if its last recorded use had been the last."""
    issued = await sessions.create("ada")
    seam.failure = StoreUnavailable("sessions", "rejected", "NOREPLICAS")
    for _ in range(19):
        await world.advance(MINUTE_MS)
        assert await verified(sessions, issued.token) is not None
    await world.advance(MINUTE_MS)

    assert await verified(sessions, issued.token) is None


async def test_a_session_has_one_touch_under_way_at_a_time(world, seam, sessions):
    """However many verifies find it due, one touch is sent."""
    issued = await sessions.create("ada")
    await world.advance(2 * MINUTE_MS)
    seam.open.clear()

    answers = await asyncio.gather(*(sessions.verify(issued.token) for _ in range(50)))
    await asyncio.sleep(0)
    seam.open.set()
    await sessions.aclose()

    assert None not in answers
    assert seam.touches == 1


def shown_of(token):
    return Presentation(token=token, own=UserKeys(namespace=UNNAMED, digest=token.digest), verifier="0" * 48)


async def test_touches_under_way_are_bounded(world, seam):
    """Those above the bound are counted and left to a later verify."""
    touches = Touches(seam, world.metrics, under_way_max=2)
    first, second, third = [shown_of(tokens.issue(world.keyring, "00" * 16)) for _ in range(3)]
    seam.open.clear()

    for shown in (first, second, third, first):
        touches.start(shown)
    seam.open.set()
    await touches.aclose()

    assert (counted(world, "ok"), counted(world, "skipped")) == (2, 1)


async def test_a_session_that_was_revoked_since_is_not_touched_to_life(world, seam, sessions):
    """P4: a touch that comes after a revocation finds no record, and makes none."""
    issued = await sessions.create("ada")
    await world.advance(2 * MINUTE_MS)
    seam.open.clear()
    await sessions.verify(issued.token)
    await asyncio.sleep(0)

    await sessions.revoke("ada", issued.session.sid)
    seam.open.set()
    await sessions.aclose()

    assert seam.touches == 1
    assert await records(world) == []
    await assert_sound(world)


async def test_a_session_that_this_process_revoked_is_not_touched(world, seam, sessions):
    """What the revocation log refuses although a server accepted it leaves nothing to be written."""
    issued = await sessions.create("ada")
    await world.advance(2 * MINUTE_MS)
    record = (await records(world))[0].key
    kept = await world.command("sessions", "DUMP", record)
    await sessions.revoke_all("ada")
    await world.command("sessions", "RESTORE", record, 60_000, kept)
    for key in await world.command("sessions", "KEYS", "*:epoch:*"):
        await world.command("sessions", "HSET", key, "ep", issued.session.created_at)

    assert await verified(sessions, issued.token) is None

    assert seam.touches == 0


async def test_a_store_that_may_not_write_verifies(embedded):
    """With too few replicas a server runs no script that could write: it runs this one."""
    sessions = Sessions(embedded.stores.sessions, embedded.keyring, embedded.metrics, POLICIES)
    issued, gone = await sessions.create("ada"), await sessions.create("eve")
    await sessions.revoke("eve", gone.session.sid)
    await embedded.command("sessions", "CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        assert await sessions.verify(issued.token) == issued.session
        assert await sessions.verify(gone.token) is None
        assert await sessions.list("ada") == (issued.session,)
    finally:
        await embedded.command("sessions", "CONFIG", "SET", "min-replicas-to-write", 0)


async def test_a_demoted_server_verifies_for_a_bounded_time(embedded):
    """A server that an operator made a replica runs what only reads: its role shows it, and no session is accepted."""
    timing = ConnectionTiming(role_check_s=0.0)
    stores = open_stores(urls_by_store(embedded.url, {}), SCRIPTS, embedded.metrics, timing=timing)
    sessions = Sessions(stores.sessions, embedded.keyring, embedded.metrics, POLICIES)
    issued = await sessions.create("ada")
    await sessions.verify(issued.token)
    try:
        await embedded.command("sessions", "REPLICAOF", "127.0.0.1", 1)
        await sessions.verify(issued.token)

        with pytest.raises(StoreUnavailable) as raised:
            await sessions.verify(issued.token)
        assert "replica" in raised.value.reason
    finally:
        await embedded.command("sessions", "REPLICAOF", "NO", "ONE")
        await stores.aclose()
