"""Disabled users: no session, and none to be had, until they are enabled; also after a failover."""

from __future__ import annotations

from itertools import count

import pytest

from tests.accounts import ROTATED_SECRET
from tests.sessions import counted, events_of, verified
from tests.spec.sessions.test_revocation_log import copied, forgetful, joined, take_over
from tests.spec.sessions.test_sessions_resurrection import Interleaved
from tests.spec.stored import assert_sound, keys_of, records
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.sessions.outcomes import Issued, SessionRefused
from tollhouse.sessions.revocations import UserStatus
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.user_keys import user_keys
from tollhouse.sessions.verbs.disabler import DisableResult, EnableResult

DAY_MS = 86_400_000
DISABLED = SessionRefused(reason="disabled")


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


async def epochs(world):
    return await keys_of(world, "sessions", "*:epoch:*")


@pytest.mark.asvs("7.4.2")
async def test_a_disabled_user_has_no_sessions_and_gets_none(world, sessions):
    """ASVS 7.4.2: disabling ends live sessions, refuses new ones and hides all; other users go on."""
    gone, other = [await sessions.create("ada") for _ in range(2)], await sessions.create("eve")

    assert (await sessions.disable("ada")).removed == 2

    assert await sessions.list("ada") == ()
    assert [await verified(sessions, each.token) for each in gone] == [None, None]
    assert await sessions.create("ada") == DISABLED
    assert await verified(sessions, other.token) == other.session
    assert [record.sid for record in await records(world)] == [other.session.sid]
    assert counted(world, "disable", "ok") == 1
    await assert_sound(world)


async def test_a_user_stays_disabled(world, sessions):
    """The flag never expires, whatever else happens to the user."""
    await sessions.create("ada")
    await sessions.disable("ada")
    await sessions.revoke_all("ada")

    await world.advance(500 * DAY_MS)

    assert await sessions.create("ada") == DISABLED
    assert [await world.command("sessions", "PTTL", key) for key in await epochs(world)] == [-1]


async def test_an_enabled_user_logs_in_anew(world, sessions):
    """Enabling lets new sessions begin and brings no former one back, not even one whose record is still there."""
    issued = await sessions.create("ada")
    for key in await keys_of(world, "sessions", "*:user:*"):
        await world.command("sessions", "DEL", key)
    await sessions.disable("ada")
    assert len(await records(world)) == 1

    await sessions.enable("ada")

    assert await forgetful(world).verify(issued.token) is None
    later = await sessions.create("ada")
    assert isinstance(later, Issued)
    assert await verified(sessions, later.token) == later.session
    assert await sessions.list("ada") == (later.session,)
    assert await verified(forgetful(world), issued.token) is None
    await assert_sound(world)


async def test_every_change_of_a_status_is_an_event(world, sessions):
    """Disabled and enabled are events; a call that is sent again writes none."""
    sent = []

    class Remembering:
        async def run_durably(self, script, keys, args):
            sent.append((script, keys, args))
            return await world.stores.sessions.run_durably(script, keys, args)

    issued = await sessions.create("ada")
    remembering = Sessions(Remembering(), world.keyring, world.metrics)
    await remembering.disable("ada")
    await remembering.enable("ada")

    assert [script for script, *_ in sent] == ["sessions/set_disabled", "sessions/revoke_all", "sessions/set_disabled"]
    await world.stores.sessions.run(*sent[2])
    about_user = await events_of(world, issued.token, sid="")
    assert about_user == ["disabled", "revoked-all", "enabled"]
    assert isinstance(await sessions.create("ada"), Issued)


@pytest.mark.parametrize(
    ("calls", "expected"), [(["disable", "enable"], Issued), (["enable", "disable"], SessionRefused)]
)
async def test_a_late_copy_of_a_call_changes_no_status(world, calls, expected):
    """A server that runs a copy of a call after the next one was answered knows it, and the next one holds."""
    sent = []

    class Remembering:
        async def run_durably(self, script, keys, args):
            sent.append((script, keys, args))
            return await world.stores.sessions.run_durably(script, keys, args)

    sessions = Sessions(Remembering(), world.keyring, world.metrics)
    for call in calls:
        await getattr(sessions, call)("ada")

    await world.stores.sessions.run(*sent[0])

    assert isinstance(await sessions.create("ada"), expected)


async def test_a_user_is_disabled_under_every_secret(world, sessions):
    """After a rotation of the deployment's secret, sessions and logins under both end and are refused."""
    both = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    rotated = Sessions(world.stores.sessions, both, world.metrics)
    old, new = await sessions.create("ada"), await rotated.create("ada")

    assert (await rotated.disable("ada")).removed == 2

    assert await sessions.create("ada") == await rotated.create("ada") == DISABLED
    assert [await verified(rotated, each.token) for each in (old, new)] == [None, None]
    await rotated.enable("ada")
    assert isinstance(await sessions.create("ada"), Issued)


async def test_a_lost_status_is_replayed(world):
    """P4: a primary that lost that a user was disabled learns it again, and that the user was enabled."""
    sessions, log = joined(world)
    issued = await sessions.create("ada")
    copy = await copied(world)
    await world.advance(1)
    await sessions.disable("ada")
    await take_over(world, copy)
    assert await forgetful(world).verify(issued.token) is not None

    await sessions.revoker.replay(world.stores.sessions.run)

    assert await forgetful(world).create("ada") == DISABLED
    assert await forgetful(world).verify(issued.token) is None
    copy = await copied(world)
    await world.advance(1)
    await sessions.enable("ada")
    await take_over(world, copy)
    await sessions.revoker.replay(world.stores.sessions.run)
    assert isinstance(await forgetful(world).create("ada"), Issued)
    assert [entry.disabled for entry in log.entries() if isinstance(entry, UserStatus)] == [False]


async def test_an_older_status_is_not_replayed_over_a_newer_one(world):
    """A process that did not hear that the user was enabled since disables no one with its replay."""
    sessions, _ = joined(world)
    await sessions.disable("ada")
    await forgetful(world).enable("ada")

    await sessions.revoker.replay(world.stores.sessions.run)

    later = await forgetful(world).create("ada")
    assert isinstance(later, Issued)
    assert await forgetful(world).verify(later.token) == later.session


async def test_an_enabled_user_who_never_was_disabled_leaves_no_key_for_ever(world, sessions):
    """P10: what enabling writes expires."""
    await sessions.enable("ada")

    await assert_sound(world)
    assert isinstance(await sessions.create("ada"), Issued)


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
async def test_a_status_is_durable_if_every_write_is(world, first, second):
    """P4: `durable` needs the status and the revocation of all sessions."""
    promises = iter((first, second, first and second))

    class Promising:
        run = world.stores.sessions.run

        async def run_durably(self, *call):
            reply, _ = await world.stores.sessions.run_durably(*call)
            return reply, next(promises)

    sessions = Sessions(Promising(), world.keyring, world.metrics)

    assert await sessions.disable("ada") == DisableResult(removed=0, durable=first and second)
    assert await sessions.enable("ada") == EnableResult(durable=first and second)


async def test_a_disabling_that_ended_halfway_is_ambiguous(world, sessions):
    """If the revocation that follows fails, the user is disabled all the same, so the call is not `not-sent`."""

    class Failing:
        async def run_durably(self, script, keys, args):
            if script == "sessions/revoke_all":
                raise StoreUnavailable("sessions", "not-sent", "it is down")
            return await world.stores.sessions.run_durably(script, keys, args)

    issued = await sessions.create("ada")

    with pytest.raises(StoreUnavailable) as raised:
        await Sessions(Failing(), world.keyring, world.metrics).disable("ada")

    assert raised.value.outcome == "ambiguous"
    assert await verified(sessions, issued.token) is None


def process(world, *names, store=None):
    """Open sessions as a process that has these secrets, the newest first."""
    secrets = {"old": world.keyring.secrets[0], "new": ROTATED_SECRET}
    keyring = Keyring(secrets=tuple(secrets[name] for name in names))
    return Sessions(store or world.stores.sessions, keyring, world.metrics)


async def test_a_user_who_was_disabled_before_a_rotation_stays_disabled(world):
    """The first login under another secret is refused too, and takes the flag along: the old secret can go."""
    await process(world, "old").disable("ada")

    assert not await process(world, "new").is_disabled("ada")
    assert await process(world, "new", "old").is_disabled("ada")
    for names in (("old", "new"), ("new", "old"), ("new", "old"), ("new",)):
        assert await process(world, *names).create("ada") == DISABLED, names
        assert await process(world, *names).is_disabled("ada")
    assert isinstance(await process(world, "new", "old").create("eve"), Issued)

    await process(world, "new", "old").enable("ada")
    assert not await process(world, "old", "new").is_disabled("ada")
    for names in (("old",), ("new", "old"), ("new",)):
        assert isinstance(await process(world, *names).create("ada"), Issued)


async def test_the_latest_of_the_secrets_decides_who_is_disabled(world):
    """What was written under an older secret before counts no more."""
    await process(world, "old").disable("ada")
    await world.advance(1)
    await process(world, "new").enable("ada")

    assert isinstance(await process(world, "new", "old").create("ada"), Issued)

    await world.advance(1)
    await process(world, "old").disable("ada")
    assert await process(world, "new", "old").create("ada") == DISABLED


@pytest.mark.parametrize("verb", ["enable", "disable"])
async def test_a_status_that_changes_during_a_login_is_the_one_that_holds(world, verb):
    """At each point of a login that takes a flag along, the user is enabled, or disabled anew: that is so after it."""
    for point in count():
        user = f"user {point}"
        await process(world, "old").disable(user)
        await world.advance(1)
        store = Interleaved(
            world.stores.sessions, point, lambda user=user: getattr(process(world, "new", "old"), verb)(user)
        )

        answer = await process(world, "new", "old", store=store).create(user)

        if not store.overtaken:
            break
        for names in (("new", "old"), ("new",), ("old",)):
            created = await process(world, *names).create(user)
            assert (created == DISABLED) is (verb == "disable"), f"point {point}"
        if verb == "disable" and isinstance(answer, Issued):
            assert await verified(process(world, "new", "old"), answer.token) is None
    assert point > 6


async def test_with_one_secret_a_login_is_one_call(world):
    """No other secret could have a flag, so none is asked for."""
    called = []

    async def note():
        called.append("once")

    for point in (0, 1, 2):
        await process(world, "new", store=Interleaved(world.stores.sessions, point, note)).create("ada")

    assert called == ["once"] * 2


async def test_the_status_of_a_user_can_be_read(world, sessions):
    """0 for a user of whom nothing is stored; else whether the user is disabled, and since when."""
    key, run = user_keys(UNNAMED, world.keyring, "ada")[0].epoch, world.stores.sessions.run

    assert await run("sessions/status", (key,), ()) == [0, 0]
    await sessions.disable("ada")
    assert await run("sessions/status", (key,), ()) == [1, world.now_ms]
