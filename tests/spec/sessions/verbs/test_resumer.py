"""The cap policy `ask`: a login at the cap waits under a ticket until its user has chosen what to end."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tests.sessions import counted, events_of, neighbour_of, verified
from tests.spec.sessions.test_revocation_log import copied, forgetful, joined, listeners_are, log_has, take_over
from tests.spec.stored import assert_sound, everything, keys_of, records
from tollhouse.errors import InvalidInput, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace
from tollhouse.sessions import tickets, tokens
from tollhouse.sessions.outcomes import CapReached, Issued, SessionRefused
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.tickets import LIFE_MS
from tollhouse.sessions.verbs.data_editor import SessionData

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
POLICIES = {
    "default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=DAY_MS, cap=5, at_cap="ask", renew_ms=HOUR_MS),
    "narrow": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=DAY_MS, cap=3, at_cap="ask", on_idle="lock"),
    "evicting": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=DAY_MS, cap=5),
}
NO_TICKET = SessionRefused(reason="ticket")


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def full(world, sessions, user="ada"):
    """Begin as many sessions as a user may have, a second apart, the eldest first."""
    issued = []
    for number in range(5):
        issued.append(await sessions.create(user, device=f"device {number}"))
        await world.advance(1_000)
    return issued


async def test_a_login_at_the_cap_asks_which_session_to_end(world, sessions):
    """No session begins: the result has a ticket of five minutes and the sessions to choose from."""
    present = await full(world, sessions)

    asked = await sessions.create("ada")

    assert isinstance(asked, CapReached)
    assert asked.sessions == tuple(reversed([each.session for each in present]))
    assert asked.expires_at == world.now_ms + LIFE_MS
    assert asked.ends == 1
    assert len(await records(world)) == 5
    assert counted(world, "ask", "ok") == counted(world, "create", "at-cap") == 1
    await assert_sound(world)


async def test_the_choice_ends_one_session_and_begins_the_other(world, sessions):
    """The login goes on in one step: what was chosen is over, and the new session has a token of its own."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")

    resumed = await sessions.resume(asked.ticket.reveal(), end=[present[3].session.sid])

    assert isinstance(resumed, Issued)
    assert await verified(sessions, present[3].token) is None
    assert await verified(sessions, resumed.token) == resumed.session
    kept = [each.session.sid for each in present if each is not present[3]]
    assert {session.sid for session in await sessions.list("ada")} == {*kept, resumed.session.sid}
    assert (await sessions.why(present[3].token)).reason == "evicted"
    assert await events_of(world, present[3].token) == ["created", "evicted"]
    assert await events_of(world, resumed.token) == ["created"]
    assert counted(world, "resume", "ok") == 1
    await assert_sound(world)


async def test_the_session_is_the_one_that_the_login_asked_for(world, sessions):
    """Policy, device, level, data and the time of the authentication come from the login; the rest begins now."""
    present = await full(world, sessions)
    login = {
        "policy": "narrow",
        "device": "a tablet",
        "acr": "aal2",
        "amr": ("pwd", "otp"),
        "data": {"cart": ["socks"]},
    }
    asked = await sessions.create("ada", **login)
    asked_at = world.now_ms
    await world.advance(60_000)

    resumed = await sessions.resume(asked.ticket, end=[each.session.sid for each in present[:3]])

    session = resumed.session
    assert (session.user, session.policy, session.device) == ("ada", "narrow", "a tablet")
    assert (session.acr, session.amr, session.authenticated_at) == ("aal2", ("pwd", "otp"), asked_at)
    assert (session.created_at, session.expires_at) == (world.now_ms, world.now_ms + DAY_MS)
    assert session.idle_expires_at == world.now_ms + HOUR_MS
    assert await sessions.data(resumed.token) == SessionData(values={"cart": ["socks"]}, version=1)
    await world.advance(HOUR_MS)
    assert [each.locked for each in await sessions.list("ada") if each.sid == session.sid] == [True]
    await assert_sound(world)


async def test_a_hundred_resumes_of_one_ticket_begin_one_session(world, sessions):
    """A ticket is good once, however many requests have it, and the cap stays exact."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")

    answers = await asyncio.gather(
        *(sessions.resume(asked.ticket, end=[present[number % 5].session.sid]) for number in range(100))
    )

    issued = [answer for answer in answers if isinstance(answer, Issued)]
    assert len(issued) == 1
    assert answers.count(NO_TICKET) == 99
    alive = [await verified(sessions, each.token) for each in (*present, *issued)]
    assert sum(session is not None for session in alive) == 5
    assert len(await records(world)) == 5
    await assert_sound(world)


async def test_the_cap_is_exact_whoever_else_logs_in(world, sessions):
    """Logins, resumes and their sessions side by side never leave more than the cap."""
    await full(world, sessions)

    async def log_in():
        asked = await sessions.create("ada")
        await sessions.resume(asked.ticket, end=[asked.sessions[-1].sid])

    await asyncio.gather(
        *(log_in() for _ in range(20)), *(sessions.create("ada", policy="evicting") for _ in range(20))
    )

    assert len(await records(world)) == len(await sessions.list("ada")) == 5
    await assert_sound(world)


async def test_too_few_to_end_leave_all_as_it_was(world, sessions):
    """Under a lower cap more than one has to end: until that is chosen nothing is written, and the ticket stays."""
    present = await full(world, sessions)
    asked = await sessions.create("ada", policy="narrow")
    before = [entry async for entry in everything(world, "sessions")]

    again = await sessions.resume(asked.ticket, end=[present[0].session.sid, present[0].session.sid])

    assert asked.ends == 3
    assert again == replace(asked, ends=2, durable=True)
    assert await sessions.resume(asked.ticket) == replace(asked, durable=True)
    assert [entry async for entry in everything(world, "sessions")] == before
    assert isinstance(await sessions.resume(asked.ticket, end=[each.session.sid for each in present[1:4]]), Issued)
    assert counted(world, "resume", "at-cap") == 2


async def test_another_login_may_take_the_place(world, sessions):
    """A place that became free is for any login: a resume that comes too late asks again, with the sessions of now."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")
    await sessions.revoke("ada", present[0].session.sid)
    rival = await sessions.create("ada")

    again = await sessions.resume(asked.ticket, end=[present[0].session.sid])

    assert isinstance(again, CapReached)
    assert rival.session in again.sessions
    assert present[0].session not in again.sessions
    assert isinstance(await sessions.resume(again.ticket, end=[rival.session.sid]), Issued)
    assert await verified(sessions, rival.token) is None


async def test_a_place_that_became_free_needs_no_choice(world, sessions):
    """A session that ended in the meantime makes room, whether or not it was chosen."""
    present = await full(world, sessions)
    first, second = present[:2]
    asked = await sessions.create("ada")
    await sessions.revoke("ada", first.session.sid)
    assert isinstance(await sessions.resume(asked.ticket), Issued)

    asked = await sessions.create("ada")
    await sessions.revoke("ada", second.session.sid)
    assert isinstance(await sessions.resume(asked.ticket, end=[second.session.sid]), Issued)

    assert (await sessions.why(second.token)).reason == "revoked"
    assert len(await records(world)) == 5
    await assert_sound(world)


async def test_only_sessions_of_the_user_can_be_chosen(world, sessions):
    """Another user's session is an error, also one whose keys have the same tag; it lives on, as the ticket does."""
    present = await full(world, sessions)
    others = [await sessions.create(name) for name in ("eve", neighbour_of(world, "ada"))]
    asked = await sessions.create("ada")
    before = [entry async for entry in everything(world, "sessions")]

    for sid in (*(each.session.sid for each in others), tokens.new_sid()):
        with pytest.raises(InvalidInput) as raised:
            await sessions.resume(asked.ticket, end=[present[0].session.sid, sid])
        assert (raised.value.field, raised.value.value) == ("end", sid)

    assert [entry async for entry in everything(world, "sessions")] == before
    assert counted(world, "resume", "unknown-session") == 3
    assert isinstance(await sessions.resume(asked.ticket, end=[present[0].session.sid]), Issued)
    assert [await verified(sessions, each.token) for each in others] == [each.session for each in others]


@pytest.mark.parametrize(
    "end", ["a" * 26, None, 7, [None], [b"a" * 26], ["*"], ["a" * 26 + ":memo"], ["a" * 26] * 1001]
)
async def test_a_choice_is_a_list_of_sids(world, sessions, end):
    """What is none reaches no key name, and is an error before anything is asked of the store."""
    with pytest.raises(InvalidInput) as raised:
        await sessions.resume("t1", end=end)

    assert raised.value.field == "end"


async def revoke_all(sessions, user):
    await sessions.revoke_all(user)


async def disable(sessions, user):
    await sessions.disable(user)


async def disable_and_enable(sessions, user):
    await sessions.disable(user)
    await sessions.enable(user)


@pytest.mark.parametrize("end", [revoke_all, disable, disable_and_enable])
async def test_what_ends_all_sessions_ends_a_ticket(world, sessions, end):
    """A login from before cannot go on after it, in whichever process."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")

    await end(sessions, "ada")

    for process in (sessions, forgetful(world)):
        assert await process.resume(asked.ticket, end=[present[0].session.sid]) == NO_TICKET
    assert await sessions.list("ada") == ()
    assert await keys_of(world, "sessions", "*:sid:" + "?" * 26) == []


async def test_the_end_of_everyone_ends_a_ticket(world, sessions):
    """A ticket lives in the epoch of all users, too."""
    await full(world, sessions)
    asked = await sessions.create("ada")

    await world.command("sessions", "HSET", UNNAMED.global_epoch(asked.ticket.digest[:2]), "ep", world.now_ms + 1)

    assert await sessions.resume(asked.ticket) == NO_TICKET


async def test_a_ticket_that_lost_its_epoch_is_none(world, sessions):
    """Without the user's epoch it is not known what was revoked, so a ticket is refused, one made then included."""
    await full(world, sessions)
    asked = await sessions.create("ada")
    (epoch,) = await keys_of(world, "sessions", "*:epoch:*")
    await world.command("sessions", "DEL", epoch)

    assert await sessions.resume(asked.ticket) == NO_TICKET


async def test_a_ticket_is_good_for_five_minutes(world, sessions):
    """Until its end it is; from then on the user logs in again, and nothing of it is left."""
    present = await full(world, sessions)
    early = await sessions.create("ada")
    await world.advance(LIFE_MS - 10_000)
    assert isinstance(await sessions.resume(early.ticket, end=[present[0].session.sid]), Issued)
    late = await sessions.create("ada")
    await world.advance(LIFE_MS)

    assert await sessions.resume(late.ticket, end=[present[1].session.sid]) == NO_TICKET
    assert await keys_of(world, "sessions", "*:ticket:*") == []


async def test_a_user_has_one_ticket(world, sessions):
    """A later login replaces the ticket of a former one: a user's tickets take bounded room."""
    await full(world, sessions)
    former, latter = [await sessions.create("ada") for _ in range(2)]

    assert await sessions.resume(former.ticket, end=[former.sessions[0].sid]) == NO_TICKET
    assert len(await keys_of(world, "sessions", "*:ticket:*")) == 1
    assert isinstance(await sessions.resume(latter.ticket, end=[former.sessions[0].sid]), Issued)


async def test_a_used_ticket_stays_used(world, sessions):
    """Neither a second use nor a late repetition of the call that made it brings a ticket back."""
    await full(world, sessions)
    sent = []

    class Remembering:
        run = world.stores.sessions.run

        async def run_durably(self, *call):
            sent.append(call)
            return await world.stores.sessions.run_durably(*call)

    asked = await Sessions(Remembering(), world.keyring, world.metrics, POLICIES).create("ada")
    resumed = await sessions.resume(asked.ticket, end=[asked.sessions[0].sid])
    await world.stores.sessions.run(*sent[-1])

    assert sent[-1][0] == "sessions/ask"
    assert await sessions.resume(asked.ticket, end=[resumed.session.sid]) == NO_TICKET
    assert await verified(sessions, resumed.token) is not None


async def test_a_repeated_resume_replies_the_same(world, sessions):
    """A call whose answer was lost is sent again, finds its own session, and ends nothing else."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")
    sent = []

    class Repeating:
        run = world.stores.sessions.run

        async def run_durably(self, *call):
            await world.stores.sessions.run_durably(*call)
            await sessions.create("eve")
            sent.append(call)
            return await world.stores.sessions.run_durably(*call)

    process = Sessions(Repeating(), world.keyring, world.metrics, POLICIES)
    resumed = await process.resume(asked.ticket, end=[present[0].session.sid])

    assert await verified(sessions, resumed.token) == resumed.session
    assert await events_of(world, resumed.token) == ["created"]
    assert await events_of(world, present[0].token) == ["created", "evicted"]
    assert len(await sessions.list("ada")) == 5
    await sessions.revoke("ada", resumed.session.sid)
    assert (await world.stores.sessions.run_durably(*sent[0]))[0] == [0]
    assert await forgetful(world).verify(resumed.token) is None
    await assert_sound(world)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ticket: replace(ticket, secret=tokens.new_secret()),
        lambda ticket: replace(ticket, digest="0" * 32),
        lambda ticket: replace(ticket, key_id="00000000"),
        lambda ticket: ticket.reveal() + " ",
        lambda ticket: ticket.reveal().replace("t1", "v1"),
        lambda ticket: ticket.reveal()[:0],
    ],
)
async def test_no_part_of_a_ticket_can_be_forged(world, sessions, spoil):
    """A changed ticket begins nothing, ends nothing, and does not spoil the one that it was made of."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")

    assert await sessions.resume(spoil(asked.ticket), end=[present[0].session.sid]) == NO_TICKET

    assert await verified(sessions, present[0].token) is not None
    assert isinstance(await sessions.resume(asked.ticket, end=[present[0].session.sid]), Issued)


async def test_a_ticket_is_no_token_and_a_token_no_ticket(world, sessions):
    """Neither opens what the other does."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")

    assert await sessions.verify(asked.ticket.reveal()) is None
    assert await sessions.resume(present[0].token.reveal()) == NO_TICKET


async def test_a_ticket_of_one_namespace_is_none_in_another(world, sessions):
    """Two applications on one server, with one secret, do not resume each other's logins."""
    await full(world, sessions)
    asked = await sessions.create("ada")
    other = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES, namespace=Namespace("shop"))

    assert await other.resume(asked.ticket) == NO_TICKET


async def test_a_ticket_survives_a_rotation_of_the_secret(world, sessions):
    """It is resumed under the secret that it was made under, as long as that is listed."""
    present = await full(world, sessions)
    asked = await sessions.create("ada")
    newer = b"the secret that came after it, 32 bytes or more"

    rotated = Keyring(secrets=(newer, *world.keyring.secrets))
    process = Sessions(world.stores.sessions, rotated, world.metrics, POLICIES)
    resumed = await process.resume(asked.ticket, end=[present[0].session.sid])

    assert await verified(process, resumed.token) == resumed.session
    without = Sessions(world.stores.sessions, Keyring(secrets=(newer,)), world.metrics, POLICIES)
    assert await without.resume(asked.ticket) == NO_TICKET


async def test_the_choice_does_not_offer_what_the_cap_does_not_count(world, sessions):
    """Sessions under an older secret take no place, so to end them would not help."""
    await full(world, sessions)
    rotated = Keyring(secrets=(b"the secret that came after it, 32 bytes or more", *world.keyring.secrets))
    process = Sessions(world.stores.sessions, rotated, world.metrics, POLICIES)
    present = await full(world, process)

    asked = await process.create("ada")

    assert {session.sid for session in asked.sessions} == {each.session.sid for each in present}
    assert asked.ends == 1


async def test_a_login_replaces_the_session_of_its_client_first(world, sessions):
    """ASVS 7.2.4: what the request presented is over; if it was the user's own, that makes the place."""
    present = await full(world, sessions)
    assert isinstance(await sessions.create("ada", replaces=present[0].token), Issued)
    other = await sessions.create("eve")

    asked = await sessions.create("ada", replaces=other.token)

    assert isinstance(asked, CapReached)
    assert await verified(sessions, other.token) is None
    assert isinstance(await sessions.resume(asked.ticket, end=[present[1].session.sid]), Issued)


async def test_a_choice_survives_a_failover(world, sessions):
    """P4: what was ended to make room stays over on a primary that lost that: each process knows, and repeats it."""
    stores = world.open_stores()
    other, log = joined(world, stores)
    await other.list("nobody")
    await listeners_are(world, 1)
    present = await full(world, sessions, 'ada "the %s" Lovelace')
    asked = await sessions.create('ada "the %s" Lovelace')
    copy = await copied(world)

    await sessions.resume(asked.ticket, end=[present[0].session.sid])

    await log_has(world, log, 1)
    for process in (sessions, other):
        await take_over(world, copy)
        assert await process.verify(present[0].token) is None
        assert await forgetful(world).verify(present[0].token) == present[0].session
        await process.revoker.replay(world.stores.sessions.run)
        assert await forgetful(world).verify(present[0].token) is None


async def test_a_disabled_user_is_not_asked(world, sessions):
    """If the user was disabled between the refusal and the ticket, there is no ticket."""
    await full(world, sessions)

    class Overtaken:
        async def run(self, script, keys, args):
            if script == "sessions/find":
                await sessions.disable("ada")
            return await world.stores.sessions.run(script, keys, args)

        run_durably = world.stores.sessions.run_durably

    process = Sessions(Overtaken(), world.keyring, world.metrics, POLICIES)

    assert await process.create("ada") == SessionRefused(reason="disabled")
    assert await keys_of(world, "sessions", "*:ticket:*") == []


@pytest.mark.parametrize("script", ["sessions/find", "sessions/list", "sessions/ask", "sessions/resume"])
async def test_an_outage_is_no_refusal(world, sessions, script):
    """If the store does not answer, the login fails as others do, and leaves nothing: the next one is asked."""
    present = await full(world, sessions)
    kept = await sessions.create("ada") if script == "sessions/resume" else None

    class Down:
        async def run(self, name, keys, args):
            return await self.unless(name, world.stores.sessions.run, name, keys, args)

        async def run_durably(self, name, keys, args):
            return await self.unless(name, world.stores.sessions.run_durably, name, keys, args)

        async def unless(self, name, run, *call):
            if name == script:
                raise StoreUnavailable("sessions", "not-sent", "down")
            return await run(*call)

    process = Sessions(Down(), world.keyring, world.metrics, POLICIES)

    with pytest.raises(StoreUnavailable) as raised:
        await (process.create("ada") if kept is None else process.resume(kept.ticket, end=[present[0].session.sid]))

    assert raised.value.outcome == "not-sent"
    assert len(await keys_of(world, "sessions", "*:ticket:*")) == (kept is not None)
    asked = await sessions.create("ada") if kept is None else kept
    assert isinstance(await sessions.resume(asked.ticket, end=[present[0].session.sid]), Issued)


async def test_no_secret_and_no_name_of_a_ticket_is_in_the_store(world, sessions):
    """P10: the store has a verifier of the ticket, and no name in a key."""
    await full(world, sessions, "ada.lovelace")
    asked = await sessions.create("ada.lovelace")

    async for key, value in everything(world, "sessions"):
        assert "lovelace" not in key
        assert asked.ticket.secret.encode() not in value
        assert asked.ticket.reveal().encode() not in value
    verifier = tickets.verifier(world.keyring, asked.ticket)
    assert verifier is not None
    assert any([verifier.encode() in value async for _, value in everything(world, "sessions")])
