"""Sessions: they begin, are verified, and end by time."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.sessions import counted, events_of, neighbour_of, verified
from tests.spec.stored import assert_close, assert_sound, index, keys_of, records
from tests.worlds import SCRIPTS
from tollhouse.errors import ConfigurationError, InvalidInput, ScriptFailed, StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.sessions.events.notes import AccountEvents
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.policies import LIFETIME_MS_MAX, SessionPolicy
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import DataResult
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


async def test_a_new_session_is_opened_by_its_token(world, sessions):
    """C-8: create gives a token, and verifying it gives the session as it was created."""
    issued = await sessions.create("ada", device="a laptop")

    assert await verified(sessions, issued.token) == issued.session
    assert await verified(sessions, issued.token.reveal()) == issued.session
    assert issued.session.user == "ada"
    assert issued.session.device == "a laptop"
    assert issued.session.policy == "default"
    assert issued.session.sid == issued.token.sid
    await assert_sound(world)


async def test_each_login_is_a_session_of_its_own(world, sessions):
    """P5: a login never reuses a token: two creates give two sessions, and both live."""
    first, second = await sessions.create("ada"), await sessions.create("ada")

    assert first.token.sid != second.token.sid
    assert first.token.secret != second.token.secret
    assert await verified(sessions, first.token) == first.session
    assert await verified(sessions, second.token) == second.session
    await assert_sound(world)


@pytest.mark.asvs("7.2.4")
@pytest.mark.parametrize("user", ["ada", "eve"])
async def test_a_login_ends_the_session_that_was_presented(world, sessions, user):
    """ASVS 7.2.4: a fresh login on a browser ends the session that it had, also another user's under another tag."""
    other = await sessions.create(user)
    presented = await sessions.create(user)

    issued = await sessions.create("ada", replaces=presented.token.reveal())

    assert await verified(sessions, presented.token) is None
    assert await verified(sessions, issued.token) == issued.session
    assert await verified(sessions, other.token) == other.session
    assert await events_of(world, presented.token) == ["created", "replaced"]
    await assert_sound(world)


async def test_a_presented_session_makes_room(world):
    """A user at a cap that refuses logs in again on a browser that has one of the sessions."""
    policies = {"default": SessionPolicy(idle_ms=HOUR_MS, absolute_ms=HOUR_MS, cap=1, at_cap="refuse")}
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, policies)
    presented = await sessions.create("ada")

    assert isinstance(await sessions.create("ada", replaces=presented.token), Issued)


async def test_a_token_that_opens_nothing_is_replaced_by_a_new_session(world, sessions):
    """A guess ends nothing, and what is over or malformed hinders no login."""
    other, gone = await sessions.create("eve"), await sessions.create("eve")
    await sessions.revoke("eve", gone.session.sid)
    guess = other.token.reveal().replace(other.token.secret, gone.token.secret)

    for text in (guess, gone.token.reveal(), "v1.x", ""):
        assert isinstance(await sessions.create("ada", replaces=text), Issued)

    assert await verified(sessions, other.token) == other.session


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
async def test_a_login_is_durable_if_the_end_of_what_it_replaces_is(world, sessions, first, second):
    """P4: `durable: true` says that neither a failover loses the new session nor that it revives the other."""
    promises = iter((first, second))

    class Promising:
        run = world.stores.sessions.run

        async def run_durably(self, *call):
            reply, _ = await world.stores.sessions.run_durably(*call)
            return reply, next(promises)

    presented = await sessions.create("ada")
    promising = Sessions(Promising(), world.keyring, world.metrics)

    issued = await promising.create("ada", replaces=presented.token)

    assert issued.durable is (first and second)


async def test_a_login_that_only_ended_what_it_replaces_is_ambiguous(world, sessions):
    """If the new session cannot be created any more, the call has done something all the same."""

    class Failing:
        run = world.stores.sessions.run

        async def run_durably(self, script, keys, args):
            if script == "sessions/create":
                raise StoreUnavailable("sessions", "not-sent", "it is down")
            return await world.stores.sessions.run_durably(script, keys, args)

    presented = await sessions.create("ada")

    with pytest.raises(StoreUnavailable) as raised:
        await Sessions(Failing(), world.keyring, world.metrics).create("ada", replaces=presented.token)

    assert raised.value.outcome == "ambiguous"


@pytest.mark.parametrize(
    ("policy", "idle_ms", "absolute_ms"),
    [
        ("default", HOUR_MS, 24 * HOUR_MS),
        ("remember", 14 * DAY_MS, 90 * DAY_MS),
        ("admin", 15 * MINUTE_MS, 12 * HOUR_MS),
    ],
)
async def test_a_policy_sets_both_ends_of_a_session(world, sessions, policy, idle_ms, absolute_ms):
    """S2-14: a session ends after 24 h by default; the other policies have ends of their own."""
    session = (await sessions.create("ada", policy=policy)).session

    assert session.created_at == session.last_seen_at == world.now_ms
    assert session.expires_at == world.now_ms + absolute_ms
    assert session.idle_expires_at == world.now_ms + idle_ms
    await assert_sound(world)


@pytest.mark.asvs("7.3.1")
async def test_an_idle_session_ends(world, sessions):
    """A session that was not used for its idle time is over, and nothing of it is left."""
    issued = await sessions.create("ada")
    await world.advance(HOUR_MS - 1_000)
    assert await verified(sessions, issued.token) is not None

    await world.advance(HOUR_MS)

    assert await verified(sessions, issued.token) is None
    assert await records(world) == []
    await assert_sound(world)


@pytest.mark.asvs("7.3.2")
async def test_use_keeps_a_session_alive_until_its_absolute_end(world, sessions):
    """Use moves the idle end and never the absolute end, at which the session is over."""
    issued = await sessions.create("ada")
    end_ms = issued.session.expires_at

    while world.now_ms + 50 * MINUTE_MS < end_ms:
        await world.advance(50 * MINUTE_MS)
        session = await verified(sessions, issued.token)
        assert session.expires_at == end_ms
        assert session.idle_expires_at == min(world.now_ms + HOUR_MS, end_ms)
        await assert_sound(world)
    await world.advance(end_ms - world.now_ms)

    assert await verified(sessions, issued.token) is None


#     idle_ms  quiet_ms  the longest pause after which nothing is written
TOUCH_INTERVALS = [
    (HOUR_MS, MINUTE_MS - 1),
    (10 * MINUTE_MS, 30 * SECOND_MS - 1),
    (14 * DAY_MS, MINUTE_MS - 1),
]


@pytest.mark.parametrize(("idle_ms", "quiet_ms"), TOUCH_INTERVALS)
async def test_verify_writes_at_most_once_in_its_interval(world, idle_ms, quiet_ms):
    """A verify writes nothing until min(60 s, idle / 20) have passed since the last write."""
    policies = {"default": SessionPolicy(idle_ms=idle_ms, absolute_ms=LIFETIME_MS_MAX)}
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, policies)
    issued = await sessions.create("ada")
    before = [record.fields for record in await records(world)], await index(world)

    await world.advance(quiet_ms)
    quiet = await verified(sessions, issued.token)
    after = [record.fields for record in await records(world)], await index(world)
    await world.advance(1)
    touched = await verified(sessions, issued.token)

    assert quiet == issued.session
    assert after == before
    assert touched.last_seen_at == issued.session.created_at + quiet_ms + 1
    assert touched.idle_expires_at == touched.last_seen_at + idle_ms
    await assert_sound(world)


@pytest.mark.asvs("7.2.1")
async def test_a_wrong_secret_opens_nothing_and_ends_nothing(world, sessions):
    """A guess at a public sid is refused, and the session goes on."""
    issued = await sessions.create("ada")
    other = await sessions.create("ada")
    guess = issued.token.reveal().replace(issued.token.secret, other.token.secret)

    assert await verified(sessions, guess) is None

    assert await verified(sessions, issued.token) == issued.session
    assert counted(world, "verify", "wrong-secret") == 1
    await assert_sound(world)


async def test_a_token_with_the_digest_of_another_user_opens_nothing(world, sessions):
    """P5: the digest in a token is compared with the record's own: with another user's it is a token never issued."""
    issued = await sessions.create("ada")
    other = neighbour_of(world, "ada")
    await sessions.create(other)
    digest = world.keyring.digest("session-user", other)
    changed = issued.token.reveal().replace(issued.token.digest, digest)

    assert digest[:2] == issued.token.digest[:2]
    assert await verified(sessions, changed) is None
    await world.advance(2 * HOUR_MS)
    assert await verified(sessions, changed) is None

    assert counted(world, "verify", "unknown") == 2


async def test_what_a_verify_reads_exists(world, sessions):
    """A creation makes the epochs of its user and of all users; a user's lasts as long as the user's last session."""
    await sessions.create("ada", policy="remember")
    await sessions.create("ada", policy="admin")

    epoch, everyone = [await keys_of(world, "sessions", pattern) for pattern in ("*:epoch:*", "*:everyone")]

    assert_close(world, await world.command("sessions", "PTTL", epoch[0]), 90 * DAY_MS)
    assert await world.command("sessions", "PTTL", everyone[0]) == -1
    await world.advance(89 * DAY_MS)
    await sessions.create("ada")
    assert_close(world, await world.command("sessions", "PTTL", epoch[0]), DAY_MS)


async def test_the_user_of_a_token_is_not_shown(world, sessions):
    """A token's text in a log names its session and not its user: the digests of two tokens would link them."""
    issued = await sessions.create("ada")

    assert issued.token.digest not in repr(issued)
    assert issued.session.sid in repr(issued)


@pytest.mark.asvs("7.2.1", "7.2.2")
async def test_a_planted_token_never_becomes_a_session(world, sessions):
    """P5: a well-formed token that was never issued is unknown, and verifying it writes nothing."""
    issued = await sessions.create("ada")
    sid = issued.token.sid
    planted = issued.token.reveal().replace(sid, sid[::-1][:25] + "a")

    assert await verified(sessions, planted) is None

    assert [record.sid for record in await records(world)] == [sid]
    assert counted(world, "verify", "unknown") == 1


@pytest.mark.parametrize("text", ["", "v1.x", "null", "v1.00000000." + "00" * 16 + "." + "a" * 26 + "." + "A" * 43])
async def test_a_malformed_token_costs_no_call(world, sessions, text):
    """A malformed token, or one under a secret that is not listed, is refused without asking the store."""
    await world.stores.sessions.aclose()

    assert await verified(sessions, text) is None

    assert counted(world, "verify", "malformed") == 1


async def test_a_list_shows_live_sessions_newest_first(world, sessions):
    """A user's list has their live sessions, the newest first, and no other user's."""
    await sessions.create("eve")
    old = await sessions.create("ada", device="phone")
    await world.advance(20 * MINUTE_MS)
    new = await sessions.create("ada", policy="admin")

    assert await sessions.list("ada") == (new.session, old.session)
    await world.advance(20 * MINUTE_MS)
    assert await sessions.list("ada") == (old.session,)
    assert await sessions.list("nobody") == ()


async def test_a_list_changes_nothing(world, sessions):
    """Listing sessions does not count as using them."""
    await sessions.create("ada")
    before = [record.fields for record in await records(world)]
    await world.advance(30 * MINUTE_MS)

    await sessions.list("ada")

    assert [record.fields for record in await records(world)] == before
    await assert_sound(world)


async def test_names_are_compared_in_one_unicode_form(world, sessions):
    """A user written with a composed or a combining accent is one user."""
    await sessions.create("Zo\u00eb")
    await sessions.create("Zoe\u0308")

    assert len(await sessions.list("Zo\u00eb")) == 2


@pytest.mark.parametrize(
    ("user", "device", "policy", "field"),
    [
        ("", None, "default", "user"),
        ("u" * 257, None, "default", "user"),
        ("u" * 100_000, None, "default", "user"),
        ("a\nb", None, "default", "user"),
        ("a\x00", None, "default", "user"),
        ("a\ud800", None, "default", "user"),
        (7, None, "default", "user"),
        (b"ada", None, "default", "user"),
        ("ada", 7, "default", "device"),
        ("ada", "d" * 121, "default", "device"),
        ("ada", "a\tb", "default", "device"),
        ("ada", None, "forever", "policy"),
    ],
)
async def test_names_labels_and_policies_are_bounded(world, sessions, user, device, policy, field):
    """A value that is too long, not plain text or unknown is refused by the name of its field; nothing is written."""
    with pytest.raises(InvalidInput) as caught:
        await sessions.create(user, device=device, policy=policy)

    assert caught.value.field == field
    assert await keys_of(world, "sessions") == []


async def test_a_misspelled_session_policy_is_told(sessions):
    """A policy that does not exist is refused with the nearest one."""
    with pytest.raises(InvalidInput) as caught:
        await sessions.create("ada", policy="remembr")

    assert "did you mean 'remember'?" in caught.value.remedy


async def test_a_user_may_have_any_name_within_the_bounds(world, sessions):
    """A user id may have 256 characters of any script."""
    user = "\u4e16" * 256

    issued = await sessions.create(user)

    assert (await verified(sessions, issued.token)).user == user


async def test_sessions_do_not_open_without_a_secret(world):
    """S4-59: without TOLLHOUSE_SECRET nothing could be kept secret, and constructing says so."""
    with pytest.raises(ConfigurationError) as refused:
        Sessions(world.stores.sessions, Keyring(), world.metrics)

    assert refused.value.setting == "TOLLHOUSE_SECRET"


async def test_sessions_outlive_a_rotation_of_the_secret(world, sessions):
    """After a new secret is put first, older sessions go on, are listed and can be ended."""
    old = await sessions.create("ada")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    rotated = Sessions(world.stores.sessions, keyring, world.metrics)
    await world.advance(5 * MINUTE_MS)
    new = await rotated.create("ada")

    seen = await verified(rotated, old.token)
    assert seen.last_seen_at == world.now_ms
    assert await rotated.list("ada") == (new.session, seen)
    await assert_sound(world)
    assert (await rotated.revoke("ada", old.session.sid)).found
    assert await verified(rotated, old.token) is None
    assert await verified(rotated, new.token) == new.session


async def test_sessions_end_when_their_secret_is_dropped(world, sessions):
    """A session made under a secret that is no longer configured cannot be verified."""
    issued = await sessions.create("ada")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more",))

    assert await Sessions(world.stores.sessions, keyring, world.metrics).verify(issued.token) is None


@pytest.mark.parametrize("step_ms", [1, 30 * SECOND_MS, 10 * MINUTE_MS, 30 * DAY_MS])
async def test_a_clock_that_steps_back_lengthens_no_life(world, sessions, step_ms):
    """For a session, time stands still at the last moment it was seen: no end moves, no time to live grows."""
    issued = await sessions.create("ada")
    await world.advance(30 * MINUTE_MS)
    seen = await verified(sessions, issued.token)
    (before,) = await records(world)

    world.step_back(step_ms)
    again = await verified(sessions, issued.token)

    (after,) = await records(world)
    assert again == seen
    assert after.fields == before.fields
    assert after.left_ms <= before.left_ms
    await world.advance(HOUR_MS)
    assert await verified(sessions, issued.token) is None


async def test_a_clock_that_steps_back_revives_nothing(world, sessions):
    """What ended before the clock stepped back stays over."""
    idle, revoked = await sessions.create("ada", policy="admin"), await sessions.create("ada")
    await sessions.revoke("ada", revoked.session.sid)
    await world.advance(16 * MINUTE_MS)

    world.step_back(DAY_MS)

    assert await verified(sessions, idle.token) is None
    assert await verified(sessions, revoked.token) is None
    assert await records(world) == []


async def test_a_clock_that_jumps_ahead_ends_sessions_for_good(world, sessions):
    """A session whose end the clock has passed is removed when it is seen, whatever its time to live says."""
    issued = await sessions.create("ada")
    world.step_back(-HOUR_MS)

    assert await sessions.list("ada") == ()
    assert await verified(sessions, issued.token) is None

    world.step_back(HOUR_MS)
    assert await verified(sessions, issued.token) is None
    assert counted(world, "verify", "expired") == 1
    await assert_sound(world)


async def test_the_absolute_end_stays_where_it_is_on_a_clock_that_steps_back(world, sessions):
    """However often the clock steps back under constant use, the end does not move and no verify passes it."""
    issued = await sessions.create("ada")
    ends = set()

    while (session := await verified(sessions, issued.token)) is not None:
        ends.add(session.expires_at)
        assert world.now_ms < session.expires_at
        await world.advance(30 * MINUTE_MS)
        world.step_back(5 * MINUTE_MS)

    assert ends == {issued.session.expires_at}


async def test_a_repeated_create_answers_the_same(world, sessions):
    """A create whose answer was lost may be sent again: it finds its own session and makes no second one."""
    asked = []

    class Recorded:
        async def run_durably(self, script, keys, args):
            asked.append((script, keys, args))
            return await world.stores.sessions.run_durably(script, keys, args)

    issued = await Sessions(Recorded(), world.keyring, world.metrics).create("ada")
    await world.advance(MINUTE_MS)

    reply = await world.stores.sessions.run(*asked[0])

    session = issued.session
    assert reply == [1, session.created_at, session.expires_at, session.idle_expires_at]
    assert len(await records(world)) == 1
    await assert_sound(world)


async def test_a_sid_never_belongs_to_a_second_session(world):
    """Only one session can begin under a sid; a generator that repeats itself is a loud failure."""
    calls = iter(range(100))
    sessions = Sessions(
        world.stores.sessions,
        world.keyring,
        world.metrics,
        random_bytes=lambda count: bytes(count) if count == 16 else bytes([next(calls)] * count),
    )
    first = await sessions.create("ada")

    with pytest.raises(ScriptFailed, match="sid"):
        await sessions.create("ada")

    assert await verified(sessions, first.token) == first.session


async def test_every_session_script_works_by_the_clock_of_the_server(world):
    """Without a time (`now_ms` 0) scripts read the server's clock."""
    stores = open_stores(urls_by_store(world.url, {}), SCRIPTS, world.metrics)
    called = set()

    class Recorded:
        async def run(self, script, keys, args):
            called.add(script)
            return await stores.sessions.run(script, keys, args)

        async def run_durably(self, script, keys, args):
            called.add(script)
            return await stores.sessions.run_durably(script, keys, args)

    sessions = Sessions(Recorded(), world.keyring, world.metrics)
    issued = await sessions.create("ada")

    assert abs(issued.session.created_at - time.time() * 1000) < MINUTE_MS
    assert await verified(sessions, issued.token) == issued.session
    assert await sessions.list("ada") == (issued.session,)
    (record,) = await records(world)
    assert_close(world, record.left_ms, HOUR_MS)
    await world.command("sessions", "HINCRBY", record.key, "l", -2 * MINUTE_MS)
    seen = await verified(sessions, issued.token)
    assert abs(seen.last_seen_at - time.time() * 1000) < MINUTE_MS
    rotated = await sessions.rotate(issued.token)
    renewed = await sessions.renew((await sessions.step_up(rotated.token)).token)
    assert abs(renewed.session.last_seen_at - time.time() * 1000) < MINUTE_MS
    assert await sessions.patch(renewed.token, {"a": 1}) == DataResult(version=2)
    assert (await sessions.increment(renewed.token, "a")).value == (await sessions.take(renewed.token, "a")).value == 2
    assert (await sessions.data(renewed.token)).version == 4
    acting = await sessions.impersonate("eve", actor="ada", actor_sid=issued.session.sid, reason="why")
    assert abs(acting.session.expires_at - HOUR_MS - time.time() * 1000) < MINUTE_MS
    assert (await sessions.stop_impersonating(acting.token, renewed.token)).session.sid == issued.session.sid
    assert (await sessions.revoke("ada", issued.session.sid)).found
    end = await sessions.why(renewed.token)
    assert abs(end.at - time.time() * 1000) < MINUTE_MS
    assert (await sessions.revoke_all("ada")).removed == (await sessions.disable("ada")).removed == 0
    await sessions.enable("ada")
    both = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    assert isinstance(await Sessions(Recorded(), both, world.metrics).create("ada"), Issued)
    asking = SessionPolicy(idle_ms=HOUR_MS, absolute_ms=HOUR_MS, cap=1, at_cap="ask")
    sessions = Sessions(Recorded(), world.keyring, world.metrics, {"default": asking})
    first, asked = [await sessions.create("ada") for _ in range(2)]
    resumed = await sessions.resume(asked.ticket, end=[first.session.sid])
    assert abs(resumed.session.created_at - time.time() * 1000) < MINUTE_MS
    await sessions.revoke_everyone()
    assert await AccountEvents(Recorded(), world.keyring, UNNAMED).write("totp-added", "ada") in (True, False)
    scripts = {"create", "verify", "touch", "rotate", "renew", "find", "list", "revoke", "revoke_all", "set_disabled"}
    scripts |= {"patch", "increment", "take", "data", "why", "status", "step_up", "revoke_everyone", "ask", "resume"}
    scripts |= {"act", "impersonate", "impersonation", "note"}
    assert called == {f"sessions/{verb}" for verb in scripts}
    assert {name for name in SCRIPTS if name.startswith("sessions/")} == called | {"sessions/probe", "sessions/events"}
    await stores.aclose()


async def test_calls_are_counted_by_their_outcome(world, sessions):
    """Every call is counted by its outcome."""
    issued = await sessions.create("ada")
    assert isinstance(issued, Issued)
    await verified(sessions, issued.token)
    await sessions.revoke("ada", issued.session.sid)
    await sessions.revoke("ada", issued.session.sid)
    await sessions.list("ada")
    await sessions.revoke_all("ada")

    for operation, outcome in [
        ("create", "ok"),
        ("verify", "ok"),
        ("revoke", "ok"),
        ("revoke", "unknown"),
        ("list", "ok"),
        ("revoke_all", "ok"),
    ]:
        assert counted(world, operation, outcome) == 1


async def test_a_burst_of_verifies_is_answered(embedded):
    """5,000 verifies at once, more than a connection has slots for, are answered inside their deadline."""
    sessions = Sessions(embedded.stores.sessions, embedded.keyring, embedded.metrics)
    issued = await sessions.create("ada")

    verified = await asyncio.gather(*(sessions.verify(issued.token) for _ in range(5_000)))

    assert verified == [issued.session] * 5_000
