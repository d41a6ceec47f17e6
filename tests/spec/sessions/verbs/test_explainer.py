"""Why a session is over: known for a day, to its client alone, and never a way back."""

from __future__ import annotations

import pytest

from tests.sessions import counted, neighbour_of, verified
from tests.spec.stored import keys_of
from tollhouse.errors import InvalidInput
from tollhouse.keys import UNNAMED
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.explainer import SessionEnd
from tollhouse.sessions.verbs.rotator import GRACE_MS

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
POLICIES = {
    "default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=3 * HOUR_MS, renew_ms=MINUTE_MS),
    "single": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=3 * HOUR_MS, cap=1),
    "locking": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=3 * HOUR_MS, on_idle="lock"),
}


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def log_out(world, sessions, issued):
    await sessions.revoke("ada", issued.session.sid, cause="logged-out")


async def revoke(world, sessions, issued):
    await sessions.revoke("ada", issued.session.sid)


async def revoke_as_admin(world, sessions, issued):
    await sessions.revoke("ada", issued.session.sid, cause="revoked-by-admin")


async def replace(world, sessions, issued):
    await sessions.create("eve", replaces=issued.token)


async def evict(world, sessions, issued):
    await sessions.create("ada", policy="single")


async def revoke_all(world, sessions, issued):
    await sessions.revoke_all("ada")


async def revoke_all_as_admin(world, sessions, issued):
    await sessions.revoke_all("ada", cause="revoked-by-admin")


async def disable(world, sessions, issued):
    await sessions.disable("ada")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (log_out, "logged-out"),
        (revoke, "revoked"),
        (revoke_as_admin, "revoked-by-admin"),
        (replace, "replaced"),
        (evict, "evicted"),
        (revoke_all, "revoked-all"),
        (revoke_all_as_admin, "revoked-by-admin"),
        (disable, "disabled"),
    ],
)
async def test_what_ended_a_session_is_told(world, sessions, end, reason):
    """For 24 hours from the end, also when the end was repeated; then it is forgotten, and no key is left."""
    issued = await sessions.create("ada")
    await world.advance(MINUTE_MS)
    assert await sessions.why(issued.token) is None
    ended_at = world.now_ms
    await end(world, sessions, issued)

    await world.advance(HOUR_MS)
    await sessions.revoke("ada", issued.session.sid)
    await sessions.revoke_all("ada")

    assert await sessions.why(issued.token) == SessionEnd(reason=reason, at=ended_at)
    await world.advance(23 * HOUR_MS)
    assert await sessions.why(issued.token) is None
    assert not await keys_of(world, "sessions", f"*{issued.session.sid}:memo")


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("policy", "uses", "reason"), [("default", 1, "idle"), ("default", 4, "expired")])
async def test_an_end_by_time_is_told(world, sessions, policy, uses, reason, asked):
    """The store forgets a record without a word; why and when are told all the same, verified in between or not."""
    issued = await sessions.create("ada", policy=policy)
    session = issued.session
    for _ in range(uses):
        await world.advance(40 * MINUTE_MS)
        session = await verified(sessions, issued.token) or session
    await world.advance(2 * HOUR_MS)
    if asked:
        assert await verified(sessions, issued.token) is None

    end = await sessions.why(issued.token)

    assert end is not None
    assert end.reason == reason
    assert abs(end.at - session.idle_expires_at) < 1_000


async def test_an_end_that_is_still_to_be_recorded_is_told(world, sessions):
    """A clock ahead, and an epoch whose call has not removed its records yet: the record is there and lives no more."""
    issued, other = await sessions.create("ada"), await sessions.create("eve")
    world.step_back(-HOUR_MS)
    assert (await sessions.why(issued.token)).reason == "idle"
    world.step_back(-3 * HOUR_MS)
    assert (await sessions.why(issued.token)).reason == "idle"
    world.step_back(4 * HOUR_MS)
    epoch = UNNAMED.user_epoch(issued.token.digest[:2], issued.token.digest)
    await world.command("sessions", "HSET", epoch, "ep", world.now_ms + 1)
    assert await sessions.why(issued.token) == SessionEnd(reason="revoked-all", at=world.now_ms)
    await world.command("sessions", "HSET", epoch, "dis", 1)
    assert (await sessions.why(issued.token)).reason == "disabled"
    await world.command("sessions", "HSET", UNNAMED.global_epoch(other.token.digest[:2]), "ep", world.now_ms + 1)
    assert (await sessions.why(other.token)).reason == "everyone"


async def test_the_end_of_everyone_is_told_after_the_record_is_gone(world, sessions):
    """An end of all sessions removes no record: what came first, it or the end by time, is told."""
    issued = await sessions.create("ada")
    everyone = UNNAMED.global_epoch(issued.token.digest[:2])
    raised_ms = world.now_ms + MINUTE_MS
    await world.command("sessions", "HSET", everyone, "ep", raised_ms)
    await world.advance(2 * HOUR_MS)
    assert await sessions.why(issued.token) == SessionEnd(reason="everyone", at=raised_ms)

    await world.command("sessions", "HSET", everyone, "ep", world.now_ms)
    assert (await sessions.why(issued.token)).reason == "idle"


async def test_reuse_is_told_to_both_holders(world, sessions):
    """The former token of a session that it ended, and the one that followed it, are told the same."""
    issued = await sessions.create("ada")
    await world.advance(MINUTE_MS)
    renewed = await sessions.renew(issued.token)
    await verified(sessions, renewed.token)
    await world.advance(GRACE_MS + 1)
    assert await sessions.verify(issued.token) is None

    for token in (issued.token, renewed.token):
        assert (await sessions.why(token)).reason == "reused"


@pytest.mark.parametrize("verb", ["rotate", "renew", "step_up"])
async def test_a_memo_that_was_lost_comes_back_with_an_end(world, sessions, verb):
    """P10: a memo that a full server evicted is not made anew for ever by the next secret of its session."""
    issued = await sessions.create("ada")
    memo = UNNAMED.session_memo(issued.token.digest[:2], issued.session.sid)
    await world.advance(MINUTE_MS)
    await verified(sessions, issued.token)
    await world.command("sessions", "DEL", memo)

    assert await getattr(sessions, verb)(issued.token)

    assert DAY_MS < await world.command("sessions", "PTTL", memo) <= DAY_MS + 3 * HOUR_MS


async def test_only_the_client_of_a_session_is_told(world, sessions):
    """A wrong secret, a changed digest, the secret before a rotation and a malformed token learn nothing."""
    issued = await sessions.create("ada")
    rotated = await sessions.rotate(issued.token)
    other = await sessions.create(neighbour_of(world, "ada"))
    await sessions.revoke("ada", issued.session.sid)
    parts = rotated.token.reveal().split(".")

    assert await sessions.why(rotated.token) is not None
    assert await sessions.why(issued.token) is None
    assert await sessions.why(".".join((*parts[:2], other.token.digest, *parts[3:]))) is None
    assert await sessions.why(".".join((*parts[:4], other.token.secret))) is None
    assert await sessions.why("none") is None
    assert counted(world, "why", "ok") == 1
    assert counted(world, "why", "unknown") == 3


async def test_a_locked_session_keeps_its_data_and_opens_nothing(world, sessions):
    """It is listed as locked, every verb refuses its token, and it ends at its absolute end."""
    issued = await sessions.create("ada", policy="locking")
    await sessions.patch(issued.token, {"cart": 1})
    await world.advance(HOUR_MS)

    assert await verified(sessions, issued.token) is None
    assert await sessions.rotate(issued.token) is None
    assert await sessions.renew(issued.token) is None
    assert await sessions.data(issued.token) is None
    assert counted(world, "verify", "locked") == 1
    assert await sessions.why(issued.token) == SessionEnd(reason="locked", at=issued.session.idle_expires_at)
    (listed,) = await sessions.list("ada")
    assert (listed.sid, listed.locked) == (issued.session.sid, True)
    await world.advance(2 * HOUR_MS)
    assert await sessions.list("ada") == ()
    assert (await sessions.why(issued.token)).reason == "expired"


async def test_a_locked_session_counts_and_can_be_ended(world, sessions):
    """The cap counts it, its user can revoke it, and then it is over for good."""
    issued = await sessions.create("ada", policy="locking")
    await world.advance(HOUR_MS)
    await sessions.create("ada", policy="single")
    assert (await sessions.why(issued.token)).reason == "evicted"
    again = await sessions.create("ada", policy="locking")
    await world.advance(HOUR_MS)
    assert (await sessions.revoke("ada", again.session.sid)).found
    assert (await sessions.why(again.token)).reason == "revoked"


async def test_a_cause_that_is_none_is_refused(sessions):
    """The error names the causes; nothing is revoked."""
    issued = await sessions.create("ada")
    with pytest.raises(InvalidInput, match="logged-out"):
        await sessions.revoke("ada", issued.session.sid, cause="logout")
    with pytest.raises(InvalidInput, match="revoked-all"):
        await sessions.revoke_all("ada", cause="all")
    assert await sessions.verify(issued.token)
