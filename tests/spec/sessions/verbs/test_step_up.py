"""Step-up (sessions/step_up): a user is authenticated anew in a session, whose times and secret are new."""

from __future__ import annotations

import asyncio

import pytest

from tests.sessions import counted, events_of, verified
from tests.spec.stored import assert_sound, records
from tollhouse.errors import InvalidInput
from tollhouse.sessions.logins import Impersonation, LoginContext, login_text
from tollhouse.sessions.outcomes import Rotation
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.rotator import GRACE_MS
from tollhouse.sessions.verbs.step_up import StepUpRefused

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
POLICIES = {
    "default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=3 * HOUR_MS, renew_ms=HOUR_MS // 2),
    "locking": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=3 * HOUR_MS, on_idle="lock"),
}
OVER = StepUpRefused(reason="over")


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def act_as(world, token, actor="admin"):
    """Make an administrator act in the session of a token, as an impersonation does."""
    login = LoginContext(acr="aal2", impersonation=Impersonation(actor=actor, actor_sid="a" * 26, reason="a call"))
    (record,) = [one for one in await records(world) if one.sid == token.sid]
    await world.command("sessions", "HSET", record.key, "au", f"{world.now_ms} {login_text(login)}")


async def test_a_step_up_resets_the_times_of_a_session(world, sessions):
    """NIST SP 800-63B-4, 5.2: idle time and lifetime begin anew, as long as at first; what else it is stays."""
    issued = await sessions.create("ada", device="a laptop", acr="aal1", amr=["pwd"])
    await sessions.patch(issued.token, {"cart": 1})
    await world.advance(HOUR_MS // 2)
    before = await verified(sessions, issued.token)
    await world.advance(30_000)

    stepped = await sessions.step_up(issued.token, acr="aal2", amr=["pwd", "otp"])

    after = stepped.session
    assert (after.acr, after.amr, after.authenticated_at) == ("aal2", ("pwd", "otp"), world.now_ms)
    assert (after.last_seen_at, after.idle_expires_at) == (world.now_ms, world.now_ms + HOUR_MS)
    assert after.expires_at == world.now_ms + 3 * HOUR_MS
    assert (after.sid, after.device, after.created_at) == (before.sid, "a laptop", before.created_at)
    assert await verified(sessions, stepped.token) == after
    assert await sessions.list("ada") == (after,)
    assert (await sessions.data(stepped.token)).values == {"cart": 1}
    assert await events_of(world, issued.token) == ["created", "stepped-up"]
    await assert_sound(world)


async def test_a_stepped_up_session_lives_as_long_again(world, sessions):
    """Each step-up counts from its own time: the lifetime is neither added up nor cut."""
    token = (await sessions.create("ada")).token
    for _ in range(4):
        for _ in range(4):
            await world.advance(40 * MINUTE_MS)
            assert await verified(sessions, token) is not None
        token = (await sessions.step_up(token)).token
        await assert_sound(world)
    for _ in range(4):
        await world.advance(40 * MINUTE_MS)
        assert await verified(sessions, token) is not None

    await world.advance(20 * MINUTE_MS)

    assert await sessions.verify(token) is None
    assert (await sessions.why(token)).reason == "expired"


async def test_a_step_up_replaces_the_secret(world, sessions):
    """ASVS 7.2.4: the former token opens nothing from then on, without grace, and that it comes ends nothing."""
    issued = await sessions.create("ada")
    await world.advance(HOUR_MS // 2)
    renewed = await sessions.renew(issued.token)

    stepped = await sessions.step_up(renewed.token)

    for former in (issued.token, renewed.token):
        assert await verified(sessions, former) is None
        assert await sessions.step_up(former) == OVER
        assert await sessions.why(former) is None
    assert not (await verified(sessions, stepped.token)).renewal_due
    await world.advance(HOUR_MS // 2)
    assert (await verified(sessions, stepped.token)).renewal_due


async def test_the_authentication_of_before_is_replaced_whole(world, sessions):
    """OIDC Core 2: level and methods are those of the last authentication, none if that says none."""
    issued = await sessions.create("ada", acr="aal2", amr=["pwd", "otp"])

    stepped = await sessions.step_up(issued.token)

    assert (stepped.session.acr, stepped.session.amr) == (None, ())
    assert await verified(sessions, stepped.token) == stepped.session


async def test_a_locked_session_opens_again(world, sessions):
    """One that was idle for too long keeps its data, and lives on as if it were new."""
    issued = await sessions.create("ada", policy="locking")
    await sessions.patch(issued.token, {"cart": 1})
    await world.advance(2 * HOUR_MS)
    assert await verified(sessions, issued.token) is None

    stepped = await sessions.step_up(issued.token, acr="aal1", amr=["pwd"])

    assert not stepped.session.locked
    assert await verified(sessions, stepped.token) == stepped.session
    assert (await sessions.data(stepped.token)).values == {"cart": 1}
    assert await sessions.why(stepped.token) is None
    await assert_sound(world)
    await world.advance(HOUR_MS)
    assert (await sessions.why(stepped.token)).reason == "locked"
    await world.advance(2 * HOUR_MS)
    assert await sessions.step_up(stepped.token) == OVER


async def test_a_locked_session_is_shown_to_who_asks_for_it(world, sessions):
    """`verify` with `locked` returns it with all its fields, and writes nothing: that it is asked for is no use."""
    issued = await sessions.create("ada", policy="locking", acr="aal1")
    assert await sessions.verify(issued.token, locked=True) == issued.session
    await world.advance(HOUR_MS)

    session = await sessions.verify(issued.token, locked=True)
    await sessions.aclose()

    assert session.locked
    assert (session.user, session.acr, session.idle_expires_at) == ("ada", "aal1", issued.session.idle_expires_at)
    assert await sessions.list("ada") == (session,)
    assert await sessions.verify(issued.token) is None
    assert counted(world, "verify", "locked") == 2
    await sessions.revoke_all("ada")
    assert await sessions.verify(issued.token, locked=True) is None


async def end_by_time(world, sessions, issued):
    await world.advance(3 * HOUR_MS)


async def end_by_revocation(world, sessions, issued):
    await sessions.revoke("ada", issued.session.sid)


async def end_by_epoch(world, sessions, issued):
    await sessions.revoke_all("ada")


async def end_by_disabling(world, sessions, issued):
    await sessions.disable("ada")


@pytest.mark.parametrize("end", [end_by_time, end_by_revocation, end_by_epoch, end_by_disabling])
@pytest.mark.parametrize("policy", ["default", "locking"])
async def test_a_session_that_is_over_stays_over(world, sessions, policy, end):
    """A step-up opens what is locked and nothing else: it makes no record, and writes no event."""
    issued = await sessions.create("ada", policy=policy)
    await world.advance(HOUR_MS if policy == "locking" else 0)
    await end(world, sessions, issued)

    assert await Sessions(world.stores.sessions, world.keyring, world.metrics).step_up(issued.token) == OVER
    assert await sessions.step_up(issued.token) == OVER

    assert await records(world) == []
    assert "stepped-up" not in await events_of(world, issued.token)


async def test_an_impersonated_session_is_not_stepped_up(world, sessions):
    """Who acts for a user has no factor of that user's: nothing changes, and the session goes on."""
    issued = await sessions.create("ada")
    await act_as(world, issued.token, actor="an administrator")

    refused = await sessions.step_up(issued.token, acr="aal3")

    assert refused == StepUpRefused(reason="impersonated")
    session = await verified(sessions, issued.token)
    assert (session.acr, session.impersonation.actor) == ("aal2", "an administrator")
    assert counted(world, "step_up", "impersonated") == 1
    await assert_sound(world)


async def test_a_former_secret_in_its_grace_may_ask(world, sessions):
    """As for a rotation: two requests side by side, one of which renewed the token. After its grace it is theft."""
    issued = await sessions.create("ada")
    await world.advance(HOUR_MS // 2)
    renewed = await sessions.renew(issued.token)

    stepped = await sessions.step_up(issued.token)

    assert await verified(sessions, stepped.token) is not None
    assert await verified(sessions, renewed.token) is None
    await world.advance(HOUR_MS // 2)
    late = stepped.token
    await verified(sessions, (await sessions.renew(late)).token)
    await world.advance(GRACE_MS + 1)
    assert await sessions.step_up(late) == OVER
    assert (await events_of(world, late))[-1] == "reused"


@pytest.mark.parametrize("pause_ms", [0, MINUTE_MS])
async def test_a_step_up_that_is_sent_again_is_one(world, pause_ms):
    """A store repeats a call whose answer was lost: the second run changes nothing and replies the same."""

    class Repeating:
        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            self.first, _ = await world.stores.sessions.run_durably(script, keys, args)
            await world.advance(pause_ms)
            return await world.stores.sessions.run_durably(script, keys, args)

    token = (await Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES).create("ada")).token
    store = Repeating()

    stepped = await Sessions(store, world.keyring, world.metrics, POLICIES).step_up(token, acr="aal2")

    assert stepped.session.authenticated_at == store.first[2] == world.now_ms - pause_ms
    assert stepped.session.expires_at == store.first[3]
    assert await events_of(world, token) == ["created", "stepped-up"]
    await assert_sound(world)


async def test_a_repeated_step_up_opens_no_session_that_locked_again(world, sessions):
    """A copy of the call that comes an idle time later finds a locked session, and leaves it so."""

    class Late:
        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            await world.stores.sessions.run_durably(script, keys, args)
            await world.advance(HOUR_MS)
            return await world.stores.sessions.run_durably(script, keys, args)

    issued = await sessions.create("ada", policy="locking")

    assert await Sessions(Late(), world.keyring, world.metrics, POLICIES).step_up(issued.token) == OVER

    (listed,) = await sessions.list("ada")
    assert listed.locked


async def test_of_step_ups_side_by_side_one_succeeds(world, sessions):
    """The others present a token that is replaced: one secret lives, and it is the one that was answered."""
    issued = await sessions.create("ada")

    answers = await asyncio.gather(*(sessions.step_up(issued.token) for _ in range(10)))

    (stepped,) = [answer for answer in answers if isinstance(answer, Rotation)]
    assert await verified(sessions, stepped.token) is not None
    assert await events_of(world, issued.token) == ["created", "stepped-up"]


async def test_claims_are_checked_before_anything_is_sent(world, sessions):
    """A level that no text may be is refused as at a login; a malformed token is over."""
    issued = await sessions.create("ada")
    with pytest.raises(InvalidInput, match="acr"):
        await sessions.step_up(issued.token, acr="two words")
    assert await sessions.step_up("none", acr="aal1") == OVER
    assert await verified(sessions, issued.token) is not None
