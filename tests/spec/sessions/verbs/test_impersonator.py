"""Impersonation: an administrator acts as a user, visibly, for a short time, and gets back to the own session alone."""

from __future__ import annotations

import pytest

from tests.sessions import counted, events_of, neighbour_of, verified
from tests.spec.sessions.events.test_reader import read
from tests.spec.sessions.test_revocation_log import copied, forgetful, joined, take_over
from tests.spec.stored import assert_sound, records
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.sessions.logins import Impersonation
from tollhouse.sessions.outcomes import Issued, SessionRefused
from tollhouse.sessions.policies import POLICIES, SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.impersonator import NOTES_MAX, ImpersonationEnded, ImpersonationRefused

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
RULES = {
    **POLICIES,
    "default": SessionPolicy(idle_ms=3 * HOUR_MS, absolute_ms=24 * HOUR_MS, cap=3),
    "refusing": SessionPolicy(idle_ms=3 * HOUR_MS, absolute_ms=24 * HOUR_MS, cap=3, at_cap="refuse"),
    "locking": SessionPolicy(idle_ms=MINUTE_MS, absolute_ms=24 * HOUR_MS, on_idle="lock"),
}
ACTOR_OVER = ImpersonationRefused(reason="actor-over")
AT_CAP = ImpersonationRefused(reason="at-cap")


@pytest.fixture
def sessions(world):
    return opened(world)


def opened(world, store=None):
    return Sessions(store or world.stores.sessions, world.keyring, world.metrics, RULES)


async def begun(sessions, admin, user="ada", reason="ticket 4711"):
    """Begin an impersonation from a session of an administrator."""
    issued = await sessions.impersonate(user, actor=admin.session.user, actor_sid=admin.session.sid, reason=reason)
    assert isinstance(issued, Issued)
    return issued


async def back_from(sessions, acting, actor_token):
    """Stop an impersonation; return the session that it leads back to."""
    ended = await sessions.stop_impersonating(acting.token, actor_token)
    assert isinstance(ended, ImpersonationEnded)
    return ended.session


async def test_an_impersonation_is_a_session_that_names_who_acts_and_why(world, sessions):
    """It has its own sid and token; verify and list show the actor, the actor's session and the reason."""
    admin = await sessions.create("root")

    issued = await sessions.impersonate(
        "ada", actor="root", actor_sid=admin.session.sid, reason="ticket 4711", device="back office"
    )

    acting = Impersonation(actor="root", actor_sid=admin.session.sid, reason="ticket 4711")
    session = issued.session
    assert (session.user, session.policy, session.device) == ("ada", "impersonation", "back office")
    assert (session.impersonation, session.acr, session.amr) == (acting, None, ())
    assert session.sid != admin.session.sid
    assert await verified(sessions, issued.token) == session
    assert await sessions.list("ada") == (session,)
    assert counted(world, "impersonate", "ok") == 1
    await assert_sound(world)


async def test_an_impersonation_ends_on_its_own(world, sessions):
    """However it is used, it is over an hour after it began, and without use after 15 minutes."""
    admin = await sessions.create("root")
    used, idle = await begun(sessions, admin), await begun(sessions, admin)

    for _ in range(5):
        await world.advance(10 * MINUTE_MS)
        assert await verified(sessions, used.token) is not None
    assert await verified(sessions, idle.token) is None
    await world.advance(10 * MINUTE_MS)

    assert await verified(sessions, used.token) is None
    assert await sessions.list("ada") == ()
    assert await verified(sessions, admin.token) is not None


@pytest.mark.parametrize("policy", ["default", "refusing"])
async def test_an_impersonation_is_outside_the_users_cap(world, sessions, policy):
    """It takes no place of the user's sessions, ends none of them, and no login ends it."""
    admin = await sessions.create("root")
    own = [await sessions.create("ada", policy=policy) for _ in range(2)]
    acting = await begun(sessions, admin)
    own.append(await sessions.create("ada", policy=policy))
    acting_later = await begun(sessions, admin)

    more = await sessions.create("ada", policy=policy)

    alive = [each for each in own if await verified(sessions, each.token) is not None]
    assert len(alive) == (2 if policy == "default" else 3)
    assert isinstance(more, Issued) if policy == "default" else more == SessionRefused(reason="at-cap")
    for each in (acting, acting_later):
        assert await verified(sessions, each.token) is not None
    await assert_sound(world)


async def test_the_choice_at_the_cap_has_no_impersonation(world, sessions):
    """To end one would make no room: the sessions to choose from are the user's own."""
    rules = {**RULES, "default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=HOUR_MS, cap=1, at_cap="ask")}
    asking = Sessions(world.stores.sessions, world.keyring, world.metrics, rules)
    admin, own = await asking.create("root"), await asking.create("ada")
    acting = await begun(asking, admin)

    reached = await asking.create("ada")

    assert (reached.sessions, reached.ends) == ((own.session,), 1)
    assert isinstance(await asking.resume(reached.ticket, end=[own.session.sid]), Issued)
    assert await verified(asking, acting.token) == acting.session


async def test_impersonations_have_a_cap_of_their_own(world, sessions):
    """The cap of the policy counts those that live; at it another is refused, and nothing is written of it."""
    admin = await sessions.create("root")
    own = [await sessions.create("ada") for _ in range(3)]
    acting = [await begun(sessions, admin) for _ in range(5)]
    who = {"actor": "root", "actor_sid": admin.session.sid, "reason": "one more"}

    assert await sessions.impersonate("ada", **who) == AT_CAP
    assert len(await records(world)) == 9
    await sessions.revoke("ada", acting[0].session.sid)
    assert isinstance(await sessions.impersonate("ada", **who), Issued)
    assert [await verified(sessions, each.token) is not None for each in own] == [True] * 3


async def test_an_administrator_begins_a_bounded_number_of_impersonations(world, sessions):
    """Its notes of them are bounded, and dropped an hour later."""
    admin = await sessions.create("root")
    for number in range(NOTES_MAX):
        await begun(sessions, admin, f"user {number}")
    who = {"actor": "root", "actor_sid": admin.session.sid, "reason": "one more"}

    assert await sessions.impersonate("ada", **who) == AT_CAP
    await world.advance(HOUR_MS)
    assert isinstance(await sessions.impersonate("ada", **who), Issued)
    epoch = UNNAMED.user_epoch(admin.token.digest[:2], admin.token.digest)
    assert len((await world.command("sessions", "HGET", epoch, "acts")).split(b"\n")) == 1


async def test_only_a_live_session_of_the_administrator_begins_one(world, sessions):
    """Not one that is over, locked, of another user, or none: nothing is written then."""
    over, other = await sessions.create("root"), await sessions.create("eve")
    locked, expired = await sessions.create("root", policy="locking"), await sessions.create("root", policy="admin")
    await sessions.revoke("root", over.session.sid)
    await world.advance(15 * MINUTE_MS)
    before = await records(world)

    for each in (over, other, locked, expired):
        refused = await sessions.impersonate("ada", actor="root", actor_sid=each.session.sid, reason="why")
        assert refused == ACTOR_OVER
    assert await sessions.impersonate("ada", actor="root", actor_sid="no sid}", reason="why") == ACTOR_OVER

    assert await sessions.list("ada") == ()
    assert [each.fields for each in await records(world)] == [each.fields for each in before]
    assert counted(world, "impersonate", "actor-over") == 5


async def test_a_session_that_a_process_knows_to_be_over_begins_none(world, sessions):
    """A server that lost the revocation of the administrator's session does not bring it back for this."""
    admin = await sessions.create("root")
    copy = await copied(world)
    await sessions.revoke_all("root")
    await take_over(world, copy)

    who = {"actor": "root", "actor_sid": admin.session.sid, "reason": "why"}
    assert await sessions.impersonate("ada", **who) == ACTOR_OVER
    assert await sessions.list("ada") == ()


async def test_an_impersonation_begins_no_other(world, sessions):
    """Nested: who acts as a user gets no session of a third one from there."""
    admin = await sessions.create("root")
    acting = await begun(sessions, admin)

    refused = await sessions.impersonate("eve", actor="ada", actor_sid=acting.session.sid, reason="why")

    assert refused == ImpersonationRefused(reason="nested")
    assert await sessions.list("eve") == ()


async def test_a_disabled_user_is_not_impersonated(world, sessions):
    """A disabled user has no session, not one of an administrator either, also after a rotation of the secret."""
    admin = await sessions.create("root")
    await sessions.disable("ada")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))

    for process in (sessions, Sessions(world.stores.sessions, keyring, world.metrics, RULES)):
        refused = await process.impersonate("ada", actor="root", actor_sid=admin.session.sid, reason="why")
        assert refused == ImpersonationRefused(reason="disabled")
    await assert_sound(world)


@pytest.mark.parametrize(
    ("field", "given"),
    [("actor", "ada"), ("actor", ""), ("reason", ""), ("reason", "a\nb"), ("reason", "x" * 201), ("actor_sid", None)],
)
async def test_who_acts_and_why_must_be_told(sessions, field, given):
    """The user is another one than the actor, and the reason is plain text of 1 to 200 characters."""
    who = {"actor": "root", "actor_sid": "a" * 26, "reason": "why", field: given}

    with pytest.raises(InvalidInput) as caught:
        await sessions.impersonate("ada", **who)

    assert caught.value.field == field


async def test_stopping_leads_back_to_the_session_that_began_it_alone(world, sessions):
    """The token of another session, also of the same administrator, or of an impersonation, opens nothing."""
    admin, elsewhere = await sessions.create("root"), await sessions.create("root")
    other, user = await sessions.create("eve"), await sessions.create("ada")
    for wrong in (elsewhere.token, other.token, user.token, await begun(sessions, admin, "carol"), "no token"):
        acting = await begun(sessions, admin)

        found = await back_from(sessions, acting, wrong.token if isinstance(wrong, Issued) else wrong)

        assert found is None
        assert await verified(sessions, acting.token) is None, "it is ended all the same"
    acting = await begun(sessions, admin)
    assert await back_from(sessions, acting, acting.token) is None

    acting = await begun(sessions, admin)
    assert await back_from(sessions, acting, admin.token) == admin.session
    assert await verified(sessions, acting.token) is None
    assert await verified(sessions, user.token) == user.session
    await assert_sound(world)


async def test_the_second_impersonation_leads_back_to_the_same_session(world, sessions):
    """After one was stopped, and while another goes on, each leads back to where it began, not to the other."""
    admin = await sessions.create("root")
    first = await begun(sessions, admin)
    assert await back_from(sessions, first, admin.token) == admin.session
    second, third = await begun(sessions, admin, "eve"), await begun(sessions, admin)

    assert await back_from(sessions, third, second.token) is None
    assert await back_from(sessions, second, admin.token) == admin.session

    assert await sessions.list("eve") == await sessions.list("ada") == ()


async def test_stopping_a_second_time_opens_no_other_session(world, sessions):
    """An impersonation that was stopped, or ended by itself, leads back to its own beginning, and ends nothing more.

    So a second click, or a page that was left alone for too long, leaves no administrator at a locked door.
    """
    admin, other = await sessions.create("root"), await sessions.create("eve")
    acting = await begun(sessions, admin)
    await world.advance(16 * MINUTE_MS)

    for _ in range(2):
        found = await back_from(sessions, acting, admin.token)
        assert (found.sid, found.user) == (admin.session.sid, "root")
        assert await back_from(sessions, acting, other.token) is None

    assert await sessions.stop_impersonating(admin.token, admin.token) is None, "it is no impersonation"
    assert await verified(sessions, admin.token) is not None
    await sessions.revoke("root", admin.session.sid)
    assert await back_from(sessions, acting, admin.token) is None


async def test_only_the_holder_of_the_token_stops_an_impersonation(world, sessions):
    """A token with another secret, also a former one, digest or form ends nothing and leads nowhere."""
    admin = await sessions.create("root")
    acting, own = await begun(sessions, admin), await sessions.create("ada")
    _, key_id, digest, sid, secret = acting.token.reveal().split(".")
    other = own.token.reveal().split(".")
    forged = [f"v1.{key_id}.{digest}.{sid}.{other[4]}", f"v1.{key_id}.{'0' * 32}.{sid}.{secret}", "v1.no", other]

    for each in forged:
        assert await sessions.stop_impersonating(each if isinstance(each, str) else ".".join(each), admin.token) is None

    assert await verified(sessions, acting.token) == acting.session
    assert await verified(sessions, own.token) == own.session
    rotation = await sessions.rotate(acting.token)
    assert await sessions.stop_impersonating(acting.token, admin.token) is None
    assert await back_from(sessions, rotation, admin.token) == admin.session


async def test_the_user_ends_an_impersonation(world, sessions):
    """It is in the user's list, and ended from there like any other session; so are all of them at once."""
    admin = await sessions.create("root")
    one, other = await begun(sessions, admin), await begun(sessions, admin)

    assert (await sessions.revoke("ada", one.session.sid)).found
    assert (await sessions.revoke_all("ada")).removed == 1

    assert await verified(sessions, one.token) is await verified(sessions, other.token) is None
    assert [(await sessions.why(each.token)).reason for each in (one, other)] == ["revoked", "revoked-all"]
    await assert_sound(world)


async def log_out(sessions, admin):
    return await sessions.revoke("root", admin.session.sid, cause="logged-out")


async def revoke_all(sessions, admin):
    return await sessions.revoke_all("root")


async def disable(sessions, admin):
    return await sessions.disable("root")


@pytest.mark.parametrize("end", [log_out, revoke_all, disable])
async def test_ending_the_administrators_session_ends_what_it_began(world, sessions, end):
    """An administrator who logs out, or is disabled, acts as others no longer, whatever their hash tags are."""
    admin, other = await sessions.create("root"), await sessions.create("eve")
    near = neighbour_of(world, "root")
    begun_here = [await begun(sessions, admin, user) for user in ("ada", near)]
    elsewhere = await begun(sessions, other)

    assert (await end(sessions, admin)).durable in (True, False)

    process = forgetful(world)
    assert [await process.verify(each.token) for each in begun_here] == [None, None]
    assert [(await sessions.why(each.token)).reason for each in begun_here] == ["impersonation-ended"] * 2
    assert await process.verify(elsewhere.token) is not None
    await process.aclose()
    await assert_sound(world)


class Repeating:
    """A store that loses its first answers to a script, and sends the call again."""

    def __init__(self, store, script):
        self.run, self._run_durably, self._script = store.run, store.run_durably, script

    async def run_durably(self, script, *call):
        if script == self._script:
            await self._run_durably(script, *call)
        return await self._run_durably(script, *call)


@pytest.mark.parametrize(("end", "script"), [(log_out, "revoke"), (revoke_all, "revoke_all"), (disable, "revoke_all")])
async def test_a_lost_answer_leaves_no_impersonation(world, sessions, end, script):
    """The second run finds the administrator's session gone, and still says what that had begun."""
    admin = await sessions.create("root")
    acting = await begun(sessions, admin)

    await end(opened(world, Repeating(world.stores.sessions, f"sessions/{script}")), admin)

    assert await forgetful(world).verify(acting.token) is None
    assert (await sessions.why(acting.token)).reason == "impersonation-ended"


@pytest.mark.parametrize("end", [log_out, revoke_all, disable])
async def test_an_end_that_failed_in_part_is_finished_by_its_repetition(world, sessions, end):
    """The session is over and the impersonation is not: the same call again ends it."""
    admin = await sessions.create("root")
    acting = await begun(sessions, admin)

    class Failing:
        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            if keys[0].endswith(acting.session.sid):
                raise StoreUnavailable("sessions", "not-sent", "cut")
            return await world.stores.sessions.run_durably(script, keys, args)

    with pytest.raises(StoreUnavailable) as caught:
        await end(opened(world, Failing()), admin)
    assert caught.value.outcome == "ambiguous"
    assert await forgetful(world).verify(acting.token) is not None

    await end(sessions, admin)

    assert await forgetful(world).verify(acting.token) is None


async def test_a_kept_session_keeps_its_impersonations(world, sessions):
    """To end all others ends what those began, and nothing of the session that is kept."""
    admin, elsewhere = await sessions.create("root"), await sessions.create("root")
    kept, gone = await begun(sessions, admin), await begun(sessions, elsewhere)

    await sessions.revoke_all("root", keep=admin.session)

    assert await verified(sessions, kept.token) == kept.session
    assert await verified(sessions, gone.token) is None


async def test_what_ended_with_the_administrator_stays_over_after_a_failover(world, sessions):
    """The ends are revocations of their own: they are replayed on a primary that lost them."""
    process, _ = joined(world)
    admin = await process.create("root")
    acting = await begun(process, admin)
    copy = await copied(world)
    await process.revoke("root", admin.session.sid)

    await take_over(world, copy)
    await process.revoker.replay(world.stores.sessions.run)

    assert await forgetful(world).verify(acting.token) is None


class Overtaken:
    """A store that another call overtakes before the call of this script."""

    def __init__(self, store, script, overtake, times=1):
        self.store, self.script, self.overtake, self.times = store, script, overtake, times

    async def run(self, script, *call):
        await self._before(script)
        return await self.store.run(script, *call)

    async def run_durably(self, script, *call):
        await self._before(script)
        return await self.store.run_durably(script, *call)

    async def _before(self, script):
        if script == self.script:
            self.times -= 1
            if self.times == 0:
                await self.overtake()


@pytest.mark.parametrize(("script", "times"), [("impersonate", 1), ("act", 1), ("act", 2)])
async def test_an_administrator_who_logs_out_in_between_gets_none(world, sessions, script, times):
    """The session is looked at again behind the beginning: what began beside its end is ended, and refused."""
    admin = await sessions.create("root")

    async def overtake():
        await opened(world).revoke("root", admin.session.sid)

    overtaken = opened(world, Overtaken(world.stores.sessions, f"sessions/{script}", overtake, times))
    result = await overtaken.impersonate("ada", actor="root", actor_sid=admin.session.sid, reason="why")

    assert result == ACTOR_OVER
    assert await sessions.list("ada") == ()
    await assert_sound(world)


async def test_a_failure_behind_the_first_step_is_ambiguous(world, sessions):
    """The error says that something may have run: the impersonation may be, for its hour."""
    admin = await sessions.create("root")

    async def fail():
        raise StoreUnavailable("sessions", "rejected", "down")

    failing = opened(world, Overtaken(world.stores.sessions, "sessions/impersonate", fail))
    with pytest.raises(StoreUnavailable) as caught:
        await failing.impersonate("ada", actor="root", actor_sid=admin.session.sid, reason="why")

    assert caught.value.outcome == "ambiguous"


async def test_a_second_run_of_a_beginning_changes_nothing(world, sessions):
    """A call whose answer was lost is repeated: one session, one note, one event."""
    admin = await sessions.create("root")
    asked = []

    class Twice(Overtaken):
        async def run(self, script, *call):
            await self.store.run(script, *call)
            return await self.store.run(script, *call)

        async def run_durably(self, script, *call):
            first, _ = await self.store.run_durably(script, *call)
            again, confirmed = await self.store.run_durably(script, *call)
            asked.append((first, again))
            return again, confirmed

    issued = await begun(opened(world, Twice(world.stores.sessions, "", None)), admin)

    assert asked[0][0] == asked[0][1]
    assert await verified(sessions, issued.token) == issued.session
    assert await events_of(world, issued.token) == ["impersonated"]
    await assert_sound(world)


async def test_events_name_who_acted_and_why(world, sessions):
    """The audit trail of the user has the beginning with actor and reason, and the end."""
    admin = await sessions.create("root")
    reader = sessions.events(user="ada")
    await reader.read()
    acting = await begun(sessions, admin, reason="ticket 4711")
    await sessions.stop_impersonating(acting.token, admin.token)

    events = await read(reader, 2)

    assert [(event.kind, event.sid, event.actor, event.reason) for event in events] == [
        ("impersonated", acting.session.sid, "root", "ticket 4711"),
        ("impersonation-ended", acting.session.sid, None, None),
    ]


async def test_an_impersonation_survives_the_rotation_of_the_secret(world):
    """Sessions under an older secret of the deployment begin impersonations, and end what they began."""
    admin = await opened(world).create("root")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    later = Sessions(world.stores.sessions, keyring, world.metrics, RULES)
    acting = await begun(later, admin)

    await later.revoke("root", admin.session.sid)

    assert await later.verify(acting.token) is None
