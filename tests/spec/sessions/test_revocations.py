"""Revocation is final: of one session, of all, by the operator, and with calls in flight."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from tests.sessions import neighbour_of, verified
from tests.spec.stored import assert_sound, index, keys_of, records
from tests.worlds import SCRIPTS, START_MS
from tollhouse.errors import StoreUnavailable
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.policies import LIFETIME_MS_MAX, SessionPolicy
from tollhouse.sessions.revocations import AllSessionsRevoked
from tollhouse.sessions.revoker import RevokeAllResult, RevokeResult
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.user_keys import user_keys
from tollhouse.sessions.verbs.data_editor import DataRefused
from tollhouse.stores.opening import open_stores
from tollhouse.stores.urls import urls_by_store

MINUTE_MS = 60_000


@pytest.fixture
def sessions(world):
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


async def epoch_key(world):
    (key,) = await keys_of(world, "sessions", "*:epoch:*")
    return key


async def test_a_revoked_session_is_over(world, sessions):
    """P4: after revoke the token opens nothing, and record and index entry are gone; others go on."""
    gone, other = await sessions.create("ada"), await sessions.create("ada")

    assert (await sessions.revoke("ada", gone.session.sid)).found

    assert await verified(sessions, gone.token) is None
    assert await sessions.list("ada") == (other.session,)
    assert await verified(sessions, other.token) == other.session
    await assert_sound(world)


async def test_revoking_twice_is_revoking_once(world, sessions):
    """A repeated revoke changes nothing and reports that it found nothing."""
    issued = await sessions.create("ada")

    first, second = [(await sessions.revoke("ada", issued.session.sid)).found for _ in range(2)]

    assert (first, second) == (True, False)
    await assert_sound(world)


async def test_only_its_owner_ends_a_session(world, sessions):
    """Another user's session is answered like one that does not exist, and goes on."""
    issued = await sessions.create("ada")

    assert not (await sessions.revoke("eve", issued.session.sid)).found

    assert await verified(sessions, issued.token) == issued.session
    await assert_sound(world)


async def test_the_owner_is_checked_where_tags_coincide(world, sessions):
    """Two users whose keys share a tag cannot end each other's sessions."""
    issued = await sessions.create("ada")

    assert not (await sessions.revoke(neighbour_of(world, "ada"), issued.session.sid)).found

    assert await verified(sessions, issued.token) == issued.session


@pytest.mark.parametrize("sid", ["", "x", "A" * 26, "*", "a" * 26 + "}:user:", "a" * 10_000])
async def test_an_invalid_sid_is_not_found_without_a_call(world, sessions, sid):
    """A text that cannot be a sid never gets into the name of a key."""
    await world.stores.sessions.aclose()

    assert await sessions.revoke("ada", sid) == RevokeResult(found=False, durable=True)


async def test_revoking_all_ends_every_session_of_one_user(world, sessions):
    """After revoke_all none of the user's tokens opens anything; other users go on."""
    gone = [await sessions.create("ada") for _ in range(5)]
    other = await sessions.create("eve")

    assert (await sessions.revoke_all("ada")).removed == 5

    assert [await verified(sessions, issued.token) for issued in gone] == [None] * 5
    assert await sessions.list("ada") == ()
    assert await verified(sessions, other.token) == other.session
    await assert_sound(world)


async def test_the_present_session_can_be_kept(world, sessions):
    """Revoking all others leaves exactly the session that is named."""
    gone, kept = await sessions.create("ada"), await sessions.create("ada")

    assert (await sessions.revoke_all("ada", keep=kept.session)).removed == 1

    assert await verified(sessions, gone.token) is None
    assert await sessions.list("ada") == (kept.session,)
    assert await verified(sessions, kept.token) == kept.session
    await assert_sound(world)


async def test_a_revoked_session_cannot_be_kept(world, sessions):
    """When two devices end each other's sessions, the one that was ended first does not come back."""
    first, second = await sessions.create("ada"), await sessions.create("ada")
    await lose_index(world)
    await sessions.revoke_all("ada", keep=second.session)

    await sessions.revoke_all("ada", keep=first.session)

    assert await verified(sessions, first.token) is None
    assert await verified(sessions, second.token) is None


async def test_a_session_of_another_user_cannot_be_kept(world, sessions):
    """Naming a stranger's session as the one to keep neither keeps it, nor harms it, nor brings it back."""
    other, gone = await sessions.create(neighbour_of(world, "ada")), await sessions.create("ada")

    await sessions.revoke_all("ada", keep=other.session)

    assert await verified(sessions, gone.token) is None
    assert await verified(sessions, other.token) == other.session
    await lose_index(world)
    await sessions.revoke_all(other.session.user)
    await world.advance(1)
    await sessions.revoke_all("ada", keep=other.session)
    assert await verified(sessions, other.token) is None


async def test_revoking_all_is_right_without_the_index(world, sessions):
    """The epoch alone ends every session, also those that the index lost."""
    issued = [await sessions.create("ada") for _ in range(3)]
    await lose_index(world)

    await sessions.revoke_all("ada")

    assert [await verified(sessions, each.token) for each in issued] == [None] * 3
    assert await records(world) == []
    await assert_sound(world)


async def test_a_login_after_revoking_all_lives(world, sessions):
    """A session that begins at the same millisecond, but after the answer, is not ended by it."""
    await sessions.create("ada")
    await sessions.revoke_all("ada")

    issued = await sessions.create("ada")

    assert await verified(sessions, issued.token) == issued.session
    await sessions.revoke_all("ada")
    assert await verified(sessions, issued.token) is None


async def lose_epoch(world):
    """Lose the epoch of a user, as an eviction would."""
    await world.command("sessions", "DEL", await epoch_key(world))


async def lose_everyone(world):
    """Lose the epoch of all users, as an eviction would."""
    for key in await keys_of(world, "sessions", "*:everyone"):
        await world.command("sessions", "DEL", key)


@pytest.mark.parametrize("lose", [lose_epoch, lose_everyone])
async def test_a_lost_epoch_ends_what_it_may_have_ended(world, sessions, lose):
    """P4: a session whose epoch is gone is over: no one knows whether it was revoked. A later login revives nothing."""
    gone, lost = await sessions.create("ada"), await sessions.create("ada")
    await lose_index(world)
    await world.advance(1)
    await sessions.revoke_all("ada", keep=lost.session)
    await lose(world)
    await world.advance(1)

    assert await sessions.list("ada") == ()
    assert await sessions.verify(lost.token) is None
    later = await sessions.create("ada")

    assert [await sessions.verify(each.token) for each in (gone, lost)] == [None, None]
    assert await verified(sessions, later.token) == later.session
    assert await sessions.list("ada") == (later.session,)


async def test_an_epoch_that_was_lost_does_not_weaken_the_next(world, sessions):
    """After the epoch's key is gone, revoking all still ends sessions that began under it, and keeps none."""
    await sessions.revoke_all("ada")
    issued = await sessions.create("ada")
    await lose_index(world)
    await lose_epoch(world)
    await world.advance(1)

    await sessions.revoke_all("ada", keep=issued.session)

    assert await verified(sessions, issued.token) is None


@pytest.mark.parametrize("calls", [1, 2, 4])
async def test_a_repeated_revoke_all_ends_no_later_login(world, sessions, calls):
    """A run of one of the last four that is sent again raises no epoch, writes no event and ends no session since."""
    asked = []

    class Recorded:
        async def run_durably(self, script, keys, args):
            asked.append((script, keys, args))
            return await world.stores.sessions.run_durably(script, keys, args)

    recorded = Sessions(Recorded(), world.keyring, world.metrics)
    for _ in range(calls):
        await recorded.revoke_all("ada")
    await world.advance(MINUTE_MS)
    later = await sessions.create("ada")
    events = await world.command("sessions", "XLEN", UNNAMED.session_events(later.token.digest[:2]))

    assert (await world.stores.sessions.run(*asked[0]))[:2] == [1, 0]

    assert await verified(sessions, later.token) == later.session
    assert await world.command("sessions", "XLEN", UNNAMED.session_events(later.token.digest[:2])) == events


async def test_more_sessions_than_one_run_removes_are_all_removed(world):
    """Members are removed 500 at a time, and none is left; a kept one and later ones stay."""
    policies = {"default": SessionPolicy(idle_ms=MINUTE_MS, absolute_ms=MINUTE_MS, cap=1_000)}
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, policies)
    issued = [await sessions.create("ada") for _ in range(502)]
    kept = issued[250]

    removed = (await sessions.revoke_all("ada", keep=kept.session)).removed

    assert removed == 501
    assert [record.sid for record in await records(world)] == [kept.session.sid]
    await assert_sound(world)


async def test_a_login_between_two_revocations_of_all_lives(world):
    """A call that removes its records in parts ends no session that began after another call in between."""
    policies = {"default": SessionPolicy(idle_ms=MINUTE_MS, absolute_ms=MINUTE_MS, cap=1_000)}
    other = Sessions(world.stores.sessions, world.keyring, world.metrics, policies)
    later = []

    class Overtaken:
        run = world.stores.sessions.run

        async def run_durably(self, *call):
            reply = await world.stores.sessions.run_durably(*call)
            if not later:
                await world.advance(1)
                await other.revoke_all("ada")
                later.append(await other.create("ada"))
                await asyncio.gather(*(other.create("ada") for _ in range(501)))
                await world.advance(1)
            return reply

    await asyncio.gather(*(other.create("ada") for _ in range(500)))

    await Sessions(Overtaken(), world.keyring, world.metrics, policies).revoke_all("ada")

    assert await verified(other, later[0].token) == later[0].session
    assert len(await other.list("ada")) == 502


async def test_the_first_run_ends_all_and_later_runs_tidy_up(world, sessions):
    """After one run of sessions/revoke_all only the kept session lives; each run continues after the last one."""
    kept = await sessions.create("ada")
    await world.advance(MINUTE_MS)
    gone = [await sessions.create("ada") for _ in range(2)]
    (own,) = user_keys(UNNAMED, world.keyring, "ada")

    async def run(skip):
        ending = AllSessionsRevoked(user="ada", digest=own.digest, name="a" * 26, keep=kept.session.sid)
        return (await world.stores.sessions.run(*ending.call(UNNAMED, skip=skip, part=1)))[:2]

    assert await run(skip=0) == [1, 0]
    assert await sessions.list("ada") == (kept.session,)
    assert len(await records(world)) == 3
    assert [await run(skip=1) for _ in range(3)] == [[1, 1], [1, 1], [0, 0]]
    assert [await verified(sessions, each.token) for each in gone] == [None, None]
    assert len(await records(world)) == 1


async def test_revoking_all_reaches_sessions_under_every_secret(world, sessions):
    """After a rotation of the secret, revoke_all ends older sessions too, and keeps the one that is named."""
    old, kept = await sessions.create("ada"), await sessions.create("ada")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    rotated = Sessions(world.stores.sessions, keyring, world.metrics)
    new = await rotated.create("ada")

    assert (await rotated.revoke_all("ada", keep=kept.session)).removed == 2

    assert await verified(rotated, old.token) is None
    assert await verified(rotated, new.token) is None
    assert await verified(rotated, kept.token) == kept.session
    await assert_sound(world)


class Promising:
    """A store whose durable calls are confirmed or not in turn, as the test says."""

    def __init__(self, store, promises):
        self.run = store.run
        self.store = store
        self.promises = iter(promises)

    async def run_durably(self, script, keys, args):
        reply, _ = await self.store.run_durably(script, keys, args)
        return reply, next(self.promises)


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
async def test_an_answer_is_durable_only_if_every_write_is(world, first, second):
    """P4: `durable` is what the store reports; with several secrets, the writes under all of them must be confirmed."""
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    store = Promising(world.stores.sessions, [first, first, second, first, second])
    sessions = Sessions(store, keyring, world.metrics)

    issued = await sessions.create("ada")

    assert issued.durable is first
    assert await sessions.revoke("ada", issued.session.sid) == RevokeResult(found=True, durable=first and second)
    assert await sessions.revoke_all("ada") == RevokeAllResult(removed=0, durable=first and second)


async def test_an_epoch_lives_as_long_as_any_session_it_may_end(world, sessions):
    """The key of an epoch lasts for the longest life that a session can have, and a later one only lengthens it."""
    await sessions.revoke_all("ada")
    left_ms = await world.command("sessions", "PTTL", await epoch_key(world))

    assert left_ms >= LIFETIME_MS_MAX - world.real_elapsed_ms - 5


async def test_the_epoch_of_everyone_ends_all_sessions_of_a_shard(world, sessions):
    """Raising the shard's epoch ends what began before, hides it from lists, and lets new logins live."""
    old = await sessions.create("ada")
    await world.command("sessions", "HSET", UNNAMED.global_epoch(old.token.digest[:2]), "ep", world.now_ms + 1)

    assert await sessions.list("ada") == ()
    new = await sessions.create("ada")
    assert await verified(sessions, old.token) is None
    assert await verified(sessions, new.token) == new.session
    await assert_sound(world)


async def test_a_session_found_over_is_removed_and_noted(world, sessions):
    """The verify that finds an epoch passed removes the record, so that the index keeps no ghosts."""
    issued = await sessions.create("ada")
    await world.command("sessions", "HSET", UNNAMED.global_epoch(issued.token.digest[:2]), "ep", world.now_ms + 1)

    await verified(sessions, issued.token)

    assert await records(world) == []
    assert await index(world) == {}


async def revoke_one(sessions, issued):
    assert (await sessions.revoke("ada", issued.session.sid)).found


async def revoke_all(sessions, issued):
    await sessions.revoke_all("ada")


async def evict(sessions, issued):
    assert isinstance(await sessions.create("ada"), Issued)


async def disable(sessions, issued):
    await sessions.disable("ada")


async def used(sessions, token, number):
    """Return what one of the verbs finds, None if it finds that the session is over."""
    match number % 10:
        case 8:
            result = await sessions.patch(token, {"n": number})
            return None if isinstance(result, DataRefused) else result
        case 9:
            return await sessions.renew(token)
        case _:
            return await sessions.verify(token)


@pytest.mark.parametrize("end", [revoke_one, revoke_all, evict, disable])
async def test_a_session_that_ends_under_load_stays_dead(embedded, end):
    """P4: with 50 calls in flight, most of them with a touch, no call that starts after the end finds the session."""
    ticks = count(START_MS + MINUTE_MS, MINUTE_MS)
    processes = [
        open_stores(urls_by_store(embedded.url, {}), SCRIPTS, embedded.metrics, clock=lambda: next(ticks))
        for _ in range(3)
    ]
    policies = {"default": SessionPolicy(idle_ms=LIFETIME_MS_MAX, absolute_ms=LIFETIME_MS_MAX, cap=1)}
    sessions = [Sessions(stores.sessions, embedded.keyring, embedded.metrics, policies) for stores in processes]
    issued = await sessions[0].create("ada")
    warm, over = asyncio.Event(), asyncio.Event()
    found_before, found_after = [], []

    async def use_repeatedly(number):
        rounds_after = 0
        while rounds_after < 5:
            began_after = over.is_set()
            found = await used(sessions[number % 3], issued.token, number)
            rounds_after += began_after
            (found_after if began_after else found_before).append(found)
            if len(found_before) >= 200:
                warm.set()

    async def end_it():
        await warm.wait()
        await end(sessions[0], issued)
        over.set()

    await asyncio.gather(end_it(), *(use_repeatedly(number) for number in range(50)))

    assert any(found_before)
    assert found_after == [None] * 250
    assert issued.session.sid not in {record.sid for record in await records(embedded)}
    assert issued.session.sid not in {sid for _, sid in await index(embedded)}
    for stores in processes:
        await stores.aclose()


async def lose_index(world):
    """Lose the index, as an eviction would."""
    for key in await keys_of(world, "sessions", "*:user:*"):
        await world.command("sessions", "DEL", key)


class Failing:
    """A store of sessions whose durable calls fail from a certain one on, without having been sent."""

    def __init__(self, store, runs):
        self.store, self.runs = store, runs

    async def run(self, script, keys, args):
        return await self.store.run(script, keys, args)

    async def run_durably(self, script, keys, args):
        if self.runs == 0:
            raise StoreUnavailable("sessions", "not-sent", "it is down")
        self.runs -= 1
        return await self.store.run_durably(script, keys, args)


#   what ran before the failure, whether the session was made under the newest secret, the outcome
PARTS = [(0, True, "not-sent"), (1, True, "ambiguous"), (1, False, "not-sent")]


@pytest.mark.parametrize(("runs", "newest", "outcome"), PARTS)
async def test_a_revocation_that_ended_under_one_secret_only_is_ambiguous(world, runs, newest, outcome):
    """With two secrets a revocation has two calls: if the first ended the session, it is not `not-sent` as a whole."""
    old, new = world.keyring, Keyring(secrets=(b"a newer secret for tests, 32 bytes", *world.keyring.secrets))
    made = Sessions(world.stores.sessions, new if newest else old, world.metrics)
    issued = await made.create("ada")

    with pytest.raises(StoreUnavailable) as raised:
        await Sessions(Failing(world.stores.sessions, runs), new, world.metrics).revoke("ada", issued.session.sid)

    assert raised.value.outcome == outcome
    assert (await verified(made, issued.token) is None) == (outcome == "ambiguous")


@pytest.mark.parametrize(("runs", "outcome"), [(0, "not-sent"), (1, "ambiguous")])
async def test_revoking_all_under_one_secret_only_is_ambiguous(world, runs, outcome):
    """A revoke-all that ran under the newest secret and not under the older one may have ended sessions."""
    both = Keyring(secrets=(b"a newer secret for tests, 32 bytes", *world.keyring.secrets))

    with pytest.raises(StoreUnavailable) as raised:
        await Sessions(Failing(world.stores.sessions, runs), both, world.metrics).revoke_all("ada")

    assert raised.value.outcome == outcome


async def test_a_revocation_that_cannot_be_repeated_on_a_new_primary_is_ambiguous(world):
    """It ran on a primary that was replaced meanwhile: whether it is in force is not known."""

    class Replaced(Failing):
        async def run(self, script, keys, args):
            raise StoreUnavailable("sessions", "not-sent", "it is down")

        async def run_durably(self, script, keys, args):
            reply = await super().run_durably(script, keys, args)
            await sessions.revoker.replay(world.stores.sessions.run)
            return reply

    sessions = Sessions(Replaced(world.stores.sessions, 9), world.keyring, world.metrics)
    issued = await Sessions(world.stores.sessions, world.keyring, world.metrics).create("ada")

    for revoke in (lambda: sessions.revoke("ada", issued.session.sid), lambda: sessions.revoke_all("ada")):
        with pytest.raises(StoreUnavailable) as raised:
            await revoke()
        assert raised.value.outcome == "ambiguous"
