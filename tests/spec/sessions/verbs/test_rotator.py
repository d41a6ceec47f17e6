"""Rotation: a session gets another secret, and its former one is good, refused or a sign of theft."""

from __future__ import annotations

import asyncio

import pytest

from tests.sessions import counted, events_of, verified
from tests.spec.stored import assert_sound, everything, records
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.revocation_log import RevocationLog
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.rotator import GRACE_MS

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
POLICIES = {
    "default": SessionPolicy(idle_ms=30 * DAY_MS, absolute_ms=90 * DAY_MS, renew_ms=HOUR_MS),
    "lasting": SessionPolicy(idle_ms=30 * DAY_MS, absolute_ms=90 * DAY_MS),
}


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)


async def renewed(world, sessions):
    """Create a session, and renew it when that is due; return the first token and what the renewal returned."""
    first = await sessions.create("ada")
    await world.advance(HOUR_MS)
    return first.token, await sessions.renew(first.token)


@pytest.mark.asvs("7.2.4")
async def test_a_rotated_session_has_another_secret(world, sessions):
    """ASVS 7.2.4: after a rotation the former token opens nothing, and the new one the same session."""
    issued = await sessions.create("ada", device="a laptop")
    await world.advance(HOUR_MS)

    rotated = await sessions.rotate(issued.token)

    assert await verified(sessions, issued.token) is None
    assert await verified(sessions, rotated.token) == rotated.session
    assert (rotated.session.sid, rotated.session.device) == (issued.session.sid, "a laptop")
    assert rotated.session.expires_at == issued.session.expires_at
    assert rotated.session.last_seen_at == world.now_ms
    assert await sessions.list("ada") == (rotated.session,)
    assert await events_of(world, issued.token) == ["created", "rotated"]
    await assert_sound(world)


async def test_the_former_secret_of_a_rotation_ends_nothing(world, sessions):
    """Requests in flight at a rotation are refused, and are no theft."""
    issued = await sessions.create("ada")
    rotated = await sessions.rotate(issued.token)
    await world.advance(DAY_MS)

    assert await verified(sessions, issued.token) is None
    assert await sessions.renew(issued.token) is None
    assert await sessions.rotate(issued.token) is None

    assert await verified(sessions, rotated.token) is not None


async def test_a_secret_is_renewed_when_it_is_due(world, sessions):
    """A session says when its secret is so old as its policy allows; until then a renewal returns the same token."""
    issued = await sessions.create("ada")
    await world.advance(HOUR_MS - 1)

    assert not (await verified(sessions, issued.token)).renewal_due
    early = await sessions.renew(issued.token)
    await world.advance(1)

    assert early.token == issued.token
    assert (await verified(sessions, issued.token)).renewal_due
    late = await sessions.renew(issued.token)
    assert late.token != issued.token
    assert not late.session.renewal_due
    assert not (await verified(sessions, late.token)).renewal_due
    assert await events_of(world, issued.token) == ["created", "renewed"]
    await assert_sound(world)


async def test_without_an_age_no_secret_is_renewed(world, sessions):
    """Renewal is off unless the policy says otherwise."""
    issued = await sessions.create("ada", policy="lasting")
    await world.advance(20 * DAY_MS)

    assert not (await verified(sessions, issued.token)).renewal_due
    assert (await sessions.renew(issued.token)).token == issued.token


async def test_requests_side_by_side_agree_on_the_successor(world, sessions):
    """50 parallel renewals, in three processes, give one token; each request is authenticated, and one secret lives."""
    processes = [Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES) for _ in range(3)]
    issued = await sessions.create("ada")
    await world.advance(HOUR_MS)

    answers = await asyncio.gather(*(processes[number % 3].renew(issued.token) for number in range(50)))

    assert len({answer.token for answer in answers}) == 1
    assert answers[0].token != issued.token
    assert (await verified(sessions, issued.token)).sid == issued.session.sid
    assert (await verified(sessions, answers[0].token)).sid == issued.session.sid
    assert await events_of(world, issued.token) == ["created", "renewed"]
    assert len(await records(world)) == 1


async def test_a_loser_of_the_race_is_authenticated_and_gets_the_successor(world, sessions):
    """Within its grace the former token opens the session as often as it comes, and a renewal gives the same token."""
    former, winner = await renewed(world, sessions)
    await verified(sessions, winner.token)
    await world.advance(GRACE_MS)

    for _ in range(3):
        assert (await verified(sessions, former)).renewal_due
        assert (await sessions.renew(former)).token == winner.token

    assert await verified(sessions, winner.token) is not None


async def test_a_lost_answer_is_no_theft(world, sessions):
    """Until its successor was presented the former token is good, however long that takes."""
    former, lost = await renewed(world, sessions)
    await world.advance(20 * DAY_MS)

    assert (await verified(sessions, former)).renewal_due
    again = await sessions.renew(former)

    assert again.token == lost.token
    assert await verified(sessions, again.token) is not None


async def test_a_former_secret_after_its_grace_ends_the_session(world, sessions):
    """Two clients had the token, so the session is over, for both and for good, and an event says why."""
    former, winner = await renewed(world, sessions)
    await verified(sessions, winner.token)
    await world.advance(GRACE_MS + 1)

    assert await verified(sessions, former) is None

    assert await verified(sessions, winner.token) is None
    assert await sessions.renew(winner.token) is None
    assert await records(world) == []
    assert await events_of(world, former) == ["created", "renewed", "reused"]
    assert counted(world, "verify", "reused") == 1
    await assert_sound(world)


@pytest.mark.parametrize("verb", ["rotate", "renew"])
async def test_a_late_former_secret_gets_no_token(world, sessions, verb):
    """A rotation or renewal that is asked for with it ends the session, too."""
    former, winner = await renewed(world, sessions)
    await verified(sessions, winner.token)
    await world.advance(GRACE_MS + 1)

    assert await getattr(sessions, verb)(former) is None

    assert await verified(sessions, winner.token) is None


async def test_an_end_by_reuse_is_a_revocation(world):
    """P4: it is in the log of the process, so that a promoted primary that lacks it learns of it."""
    log = RevocationLog()
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES, revocation_log=log)
    former, winner = await renewed(world, sessions)
    await verified(sessions, winner.token)
    await world.advance(GRACE_MS + 1)

    await sessions.verify(former)

    assert [entry.sid for entry in log.entries()] == [former.sid]


async def test_a_reuse_that_cannot_be_written_is_refused_all_the_same(world, sessions):
    """While the store may not write, the answer is None; the session ends when the token is presented again."""

    class ReadOnly:
        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            raise StoreUnavailable("sessions", "rejected", "NOREPLICAS")

    former, winner = await renewed(world, sessions)
    await verified(sessions, winner.token)
    await world.advance(GRACE_MS + 1)

    assert await Sessions(ReadOnly(), world.keyring, world.metrics, POLICIES).verify(former) is None

    assert counted(world, "end", "failed") == 1
    assert await sessions.verify(winner.token) is not None
    assert await sessions.verify(former) is None
    assert await sessions.verify(winner.token) is None


async def test_a_secret_of_two_renewals_ago_is_only_wrong(world, sessions):
    """Only the directly superseded secret counts: an older one opens nothing, and ends nothing."""
    oldest, second = await renewed(world, sessions)
    await verified(sessions, second.token)
    await world.advance(HOUR_MS)
    third = await sessions.renew(second.token)

    assert await verified(sessions, oldest) is None
    await world.advance(DAY_MS)
    assert await verified(sessions, oldest) is None

    assert await verified(sessions, third.token) is not None


async def test_a_wrong_secret_ends_nothing_at_any_time(world, sessions):
    """A guess at a session that was renewed is refused, before the grace is over and after."""
    former, winner = await renewed(world, sessions)
    other = await sessions.create("ada")
    guess = former.reveal().replace(former.secret, other.token.secret)
    await verified(sessions, winner.token)

    for pause_ms in (0, GRACE_MS + 1):
        await world.advance(pause_ms)
        assert await verified(sessions, guess) is None
        assert await sessions.renew(guess) is None
        assert await sessions.rotate(guess) is None

    assert await verified(sessions, winner.token) is not None


async def test_a_rotation_forgets_the_former_secret(world, sessions):
    """After a rotation neither the secret before it nor the one before that opens anything, at once."""
    former, winner = await renewed(world, sessions)

    rotated = await sessions.rotate(winner.token)

    assert [await verified(sessions, token) for token in (former, winner.token)] == [None, None]
    assert await verified(sessions, rotated.token) is not None


@pytest.mark.parametrize("verb", ["revoke", "revoke_all", "disable", "disable and enable"])
async def test_the_grace_mints_nothing_after_a_revocation(world, sessions, verb):
    """P4: once the session is revoked, by whatever verb, a former token in its grace gets no successor."""
    former, _ = await renewed(world, sessions)
    if verb == "revoke":
        await sessions.revoke("ada", former.sid)
    elif verb == "revoke_all":
        await sessions.revoke_all("ada")
    else:
        await sessions.disable("ada")
    if verb == "disable and enable":
        await sessions.enable("ada")

    forgetful = Sessions(world.stores.sessions, world.keyring, world.metrics, POLICIES)
    assert await forgetful.renew(former) is None
    assert await forgetful.rotate(former) is None

    assert await records(world) == []


async def test_two_tabs_are_no_theft(world, sessions):
    """Of two tabs with one cookie, one renews and the other is late, at every renewal: each is let in each time."""
    cookie = (await sessions.create("ada")).token
    for _ in range(4):
        await world.advance(HOUR_MS)
        late = cookie
        cookie = (await sessions.renew(cookie)).token

        assert await verified(sessions, cookie) is not None
        await world.advance(GRACE_MS)
        assert (await verified(sessions, late)).renewal_due
        assert (await sessions.renew(late)).token == cookie

    assert "reused" not in await events_of(world, cookie)


async def test_a_repeated_call_is_one_rotation(world, sessions):
    """Calls whose answers were lost may be sent again: the same reply, one event, the same secrets."""
    sent = []

    class Remembering:
        async def run_durably(self, script, keys, args):
            reply = await world.stores.sessions.run_durably(script, keys, args)
            sent.append((script, keys, args, reply[0]))
            return reply

    issued = await sessions.create("ada")
    await world.advance(HOUR_MS)
    repeating = Sessions(Remembering(), world.keyring, world.metrics, POLICIES)
    second = await repeating.renew(issued.token)
    third = await repeating.rotate(second.token)

    assert [call[0] for call in sent] == ["sessions/renew", "sessions/rotate"]
    script, keys, args, reply = sent[1]
    assert await world.stores.sessions.run(script, keys, args) == reply
    assert await verified(sessions, third.token) is not None
    assert await events_of(world, issued.token) == ["created", "renewed", "rotated"]


async def test_a_token_of_an_older_secret_of_the_deployment_is_renewed_under_it(world, sessions):
    """After a rotation of the deployment's secret, processes that list both agree on the successor."""
    issued = await sessions.create("ada")
    await world.advance(HOUR_MS)
    both = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))

    ahead = await Sessions(world.stores.sessions, both, world.metrics, POLICIES).renew(issued.token)

    assert ahead.token == (await sessions.renew(issued.token)).token
    assert ahead.token.key_id == issued.token.key_id


async def test_no_secret_of_a_renewal_is_stored(world, sessions):
    """P5: neither the former secret nor its successor is in the store."""
    former, winner = await renewed(world, sessions)

    stored = [value async for _, value in everything(world, "sessions")]

    assert not any(token.secret.encode() in value for token in (former, winner.token) for value in stored)


@pytest.mark.parametrize("text", ["", "v1.x"])
async def test_a_malformed_token_is_not_rotated(world, sessions, text):
    """It costs no call."""
    await world.stores.sessions.aclose()

    assert await sessions.rotate(text) is None
    assert await sessions.renew(text) is None


@pytest.mark.parametrize("renew_ms", [0, 59_999, 401 * DAY_MS])
def test_the_age_of_a_secret_has_bounds(renew_ms):
    """An age below a minute or above the longest life is a configuration error."""
    with pytest.raises(ConfigurationError):
        SessionPolicy(idle_ms=HOUR_MS, absolute_ms=DAY_MS, renew_ms=renew_ms)
