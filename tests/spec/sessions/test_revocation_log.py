"""Revoked sessions stay revoked: the log, announcements, and a promoted primary that lacks a revocation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.sessions import counted
from tests.spec.stored import assert_sound, keys_of
from tests.worlds import START_MS, StoreWorld
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED
from tollhouse.metrics import Metrics
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.policies import SessionPolicy
from tollhouse.sessions.revocation_log import ENTRIES_MAX, RETENTION_S, RevocationLog
from tollhouse.sessions.revocations import (
    ANNOUNCEMENT_BYTES_MAX,
    UNSETTLED_MS,
    AllSessionsRevoked,
    EveryoneRevoked,
    Revocation,
    SessionRevoked,
    UserStatus,
    announcement,
    read_announcement,
)
from tollhouse.sessions.sessions import Sessions
from tollhouse.sessions.verbs.data_editor import DataRefused
from tollhouse.wiring import open_sessions

DIGEST = "0123456789abcdef" * 2
SID, OTHER = "a" * 26, "b" * 26
ONE = SessionRevoked(user="ada", digest=DIGEST, sid=SID)
ALL = AllSessionsRevoked(user="ada", digest=DIGEST, name=OTHER, keep="", epoch_ms=START_MS)
STATUS = UserStatus(user="ada", digest=DIGEST, name=OTHER, disabled=True, epoch_ms=START_MS)
EVERYONE = EveryoneRevoked(shard=DIGEST[:2], name=OTHER, epoch_ms=START_MS)
PATIENCE_S = 30.0


class Clock:
    """The log's clock, which only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def one(number: int) -> SessionRevoked:
    return replace(ONE, sid=f"{number:0>26}".translate(str.maketrans("0189", "wxyz")))


@pytest.mark.parametrize("revocation", [ONE, ALL, replace(ALL, keep=SID), STATUS, EVERYONE])
def test_an_announcement_can_be_read(revocation: Revocation) -> None:
    """An announcement, as the script writes it, is read as the revocation that it announces."""
    assert read_announcement(b"%d %s" % (START_MS, announcement(revocation).encode())) == revocation


@pytest.mark.parametrize("character", ['"', "\\", "ß", "\N{GRINNING FACE}"])
def test_the_longest_announcement_has_a_bound(character: str) -> None:
    """P10: with the longest possible user an announcement is not longer than the longest that is read."""
    longest = replace(ALL, user=character * 256, keep=SID, epoch_ms=10**14)

    payload = b"%d %s" % (longest.epoch_ms, announcement(longest).encode())

    assert len(payload) <= ANNOUNCEMENT_BYTES_MAX
    assert read_announcement(payload) == longest


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"1800000000000",
        b"1800000000000 ",
        b"1800000000000 {",
        b"1800000000000 \xff",
        b'1800000000000 {"type":"two"}',
        announcement(ONE).encode(),
        b"-1 " + announcement(ALL).encode(),
        b"1" * 16 + b" " + announcement(ALL).encode(),
        b"1 " + announcement(replace(ONE, sid="A" * 26)).encode(),
        b"1 " + announcement(replace(ONE, sid=SID + "\n")).encode(),
        b"1 " + announcement(replace(ONE, digest="*" * 32)).encode(),
        b"1 " + announcement(replace(ONE, user="")).encode(),
        b"1 " + announcement(replace(ONE, user="x" * 257)).encode(),
        b"1 " + announcement(replace(ALL, keep="x")).encode(),
        b"1 " + announcement(ONE).encode().replace(b'"user"', b'"more":1,"user"'),
        b"1 " + announcement(ONE).encode() + b" " * ANNOUNCEMENT_BYTES_MAX,
    ],
)
def test_a_payload_that_no_script_wrote_is_ignored(payload: bytes) -> None:
    """P10: any text that is no announcement is None; no part of it gets into a key name."""
    assert read_announcement(payload) is None


#    sid    keep   began in the epoch   created                   is over
ENDS = [
    (SID, "", START_MS - 1, START_MS - 9, True),
    (SID, "", 0, START_MS, True),  # created in the same millisecond, before the call
    (SID, "", START_MS, START_MS, False),  # created in the same millisecond, after the call
    (SID, "", START_MS, START_MS - 9, False),  # after the call, on a server whose clock is behind
    (SID, "", 0, START_MS + 1, False),  # after the call, through a process that did not know of the call
    (SID, "", 0, START_MS - 9, True),  # the same with a clock that is behind: ended, to be safe
    (SID, SID, 0, START_MS - 9, False),
    (OTHER, SID, 0, START_MS - 9, True),
]


@pytest.mark.parametrize(("sid", "keep", "began_ms", "created_at", "over"), ENDS)
def test_a_revoke_all_covers_earlier_sessions(sid: str, keep: str, began_ms: int, created_at: int, over: bool) -> None:
    """Epochs decide; a session of a lower epoch lives only if it is kept, or was created after the epoch's time."""
    log = RevocationLog()
    log.add(replace(ALL, keep=keep))

    assert log.covers(DIGEST, sid, began_ms, 0, created_at) is over
    assert not log.covers(DIGEST[::-1], sid, began_ms, 0, created_at)


def test_a_revocation_is_remembered_for_120_seconds() -> None:
    """An entry lasts for 120 s of the process's clock; adding it again renews it."""
    clock = Clock()
    log = RevocationLog(clock=clock)
    assert log.entries() == ()
    log.add(one(1))
    clock.now_s += RETENTION_S / 2
    log.add(one(2))
    clock.now_s += RETENTION_S / 2
    assert log.contains(one(1).sid)
    assert log.entries() == (one(1), one(2))

    clock.now_s += 0.001
    assert not log.contains(one(1).sid)
    assert log.entries() == (one(2),)
    log.add(one(2))
    clock.now_s += RETENTION_S
    assert log.contains(one(2).sid)
    clock.now_s += 0.001
    assert log.entries() == ()


def test_the_log_has_a_bound() -> None:
    """P10: beyond the bound the oldest entry is evicted, which is counted and reported; an expired one is not."""
    clock = Clock()
    log = RevocationLog(clock=clock, entries_max=2)
    assert [log.add(one(number)) for number in (1, 2, 1, 3)] == [True, True, True, False]
    assert log.entries() == (one(1), one(3))

    clock.now_s += RETENTION_S + 1

    assert log.add(one(4))
    assert ENTRIES_MAX == 10_000


@pytest.mark.parametrize(("first_ms", "second_ms"), [(0, 1), (1, 0), (1, 1)])
def test_the_highest_epoch_of_a_user_is_remembered(first_ms: int, second_ms: int) -> None:
    """A user has one entry for all sessions, the later one: it covers whatever the earlier one covers."""
    log = RevocationLog()
    for epoch_ms in (first_ms, second_ms):
        log.add(replace(ALL, epoch_ms=START_MS + epoch_ms))

    assert log.entries() == (replace(ALL, epoch_ms=START_MS + 1),)


def joined(world: StoreWorld, stores: Any = None) -> tuple[Sessions, RevocationLog]:
    """Return the sessions of a process that receives announcements, and its log."""
    log = RevocationLog()
    store = world.stores.sessions if stores is None else stores.sessions
    return open_sessions(store, world.keyring, world.metrics, revocation_log=log), log


def forgetful(world: StoreWorld) -> Sessions:
    """Return the sessions of a process with an empty log: it accepts whatever the store accepts."""
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Poll until it happened, for a bounded time; the other side gets its turn in between."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not await happened():
        assert time.monotonic() < give_up_s, "it did not happen"
        await asyncio.sleep(0)


async def listeners_are(world: StoreWorld, number: int) -> None:
    async def asked() -> bool:
        return (await world.command("sessions", "PUBSUB", "NUMSUB", UNNAMED.session_revocations))[1] == number

    await until(asked)


async def log_has(world: StoreWorld, log: RevocationLog, number: int) -> None:
    async def asked() -> bool:
        await world.command("sessions", "PING")
        return len(log.entries()) == number

    await until(asked)


async def copied(world: StoreWorld) -> dict[str, tuple[int, bytes]]:
    """Copy the whole store, as a replica does."""
    return {
        key: (max(await world.command("sessions", "PTTL", key), 0), await world.command("sessions", "DUMP", key))
        for key in await keys_of(world, "sessions")
    }


async def take_over(world: StoreWorld, copy: dict[str, tuple[int, bytes]]) -> None:
    """Replace the store's contents by the copy; what was written since the copy is lost."""
    await world.command("sessions", "FLUSHDB")
    for key, (left_ms, value) in copy.items():
        await world.command("sessions", "RESTORE", key, left_ms, value)


async def kinds(world: StoreWorld, issued: Issued) -> list[bytes]:
    """Return the kinds of the events of a shard, in order."""
    reply = await world.command("sessions", "XRANGE", UNNAMED.session_events(issued.token.digest[:2]), "-", "+")
    return [fields[3] for _, fields in reply]


async def test_a_revocation_reaches_every_process(world):
    """P4: another process accepts no session that this one revoked, even if the store lost the revocation."""
    stores = world.open_stores()
    (first, _), (second, log) = joined(world), joined(world, stores)
    await asyncio.gather(first.list("nobody"), second.list("nobody"))
    await listeners_are(world, 2)
    gone, kept = await first.create("ada"), await first.create("ada")
    alone, other = await first.create("eve"), await first.create("bob")
    copy = await copied(world)

    await first.revoke_all("ada", keep=kept.session)
    await first.revoke("eve", alone.session.sid)
    await log_has(world, log, 2)
    await take_over(world, copy)

    assert [await forgetful(world).verify(issued.token) for issued in (gone, alone)] == [gone.session, alone.session]
    assert [await second.verify(issued.token) for issued in (gone, alone)] == [None, None]
    assert [await second.verify(issued.token) for issued in (kept, other)] == [kept.session, other.session]


async def test_nothing_is_listened_to_before_sessions_are_used(world):
    """A process subscribes with its first session call, not before; closing the stores ends the subscription."""
    stores = world.open_stores()
    sessions, _ = joined(world, stores)
    await stores.limits.command("PING")
    await stores.sessions.command("PING")
    await listeners_are(world, 0)

    await sessions.list("ada")

    await listeners_are(world, 1)
    await stores.aclose()
    await listeners_are(world, 0)


async def test_a_session_revoked_here_is_refused_without_a_call(world):
    """P4: for 120 s this process refuses a session that it revoked without a call; then the store decides again."""
    clock = Clock()
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, revocation_log=RevocationLog(clock=clock))
    issued = await sessions.create("ada")
    copy = await copied(world)
    await sessions.revoke("ada", issued.session.sid)
    await take_over(world, copy)

    assert await sessions.verify(issued.token) is None
    assert counted(world, "verify", "revoked") == 1

    clock.now_s += RETENTION_S + 1
    assert await sessions.verify(issued.token) == issued.session


async def test_gaps_and_unreadable_announcements_are_counted(world):
    """A malformed announcement, an evicted entry and a gap in the subscription are counted, and change nothing."""
    sessions = Sessions(
        world.stores.sessions, world.keyring, world.metrics, revocation_log=RevocationLog(entries_max=1)
    )
    sessions.revoker.on_announcement(b"nonsense")
    sessions.revoker.on_announcement(b"1 " + announcement(one(1)).encode())
    sessions.revoker.on_announcement(b"1 " + announcement(one(2)).encode())
    sessions.revoker.on_gap()

    value = world.metrics.registry.get_sample_value
    assert value("tollhouse_state_discarded_total", {"kind": "announcement"}) == 1
    assert value("tollhouse_state_discarded_total", {"kind": "revocation"}) == 1
    assert counted(world, "hear", "missed") == 1


async def test_only_revocations_that_ended_a_session_are_logged(world):
    """A revocation that finds no session of the user, and an eviction by the cap, add nothing to the log."""
    policies = {"default": SessionPolicy(idle_ms=60_000, absolute_ms=60_000, cap=1)}
    log = RevocationLog()
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, policies, revocation_log=log)
    issued = await sessions.create("ada")
    await sessions.create("ada")

    await sessions.revoke("ada", issued.session.sid)
    await sessions.revoke("eve", issued.session.sid)

    assert log.entries() == ()


async def test_a_lost_revocation_is_replayed(world):
    """P4: a replay ends the session again, with its event, if the primary lost that; a second one writes nothing."""
    sessions, _ = joined(world)
    gone, other = await sessions.create("ada"), await sessions.create("ada")
    stranger = await sessions.create("eve")
    copy = await copied(world)
    await sessions.revoke("ada", gone.session.sid)
    await take_over(world, copy)

    await sessions.revoker.replay(world.stores.sessions.run)
    await sessions.revoker.replay(world.stores.sessions.run)

    assert await forgetful(world).verify(gone.token) is None
    assert await forgetful(world).verify(other.token) == other.session
    assert await forgetful(world).verify(stranger.token) == stranger.session
    assert (await kinds(world, gone)).count(b"revoked") == 1
    await assert_sound(world)


async def test_a_lost_revoke_all_is_replayed(world):
    """P4: a replay ends what a lost revoke-all had ended; the kept session, logins since and other users' live."""
    sessions, _ = joined(world)
    gone, kept, stranger = [await sessions.create(user) for user in ("ada", "ada", "eve")]
    copy = await copied(world)
    await world.advance(1)
    await sessions.revoke_all("ada", keep=kept.session)
    await take_over(world, copy)
    await world.advance(1)
    unaware = await forgetful(world).create("ada")

    await sessions.revoker.replay(world.stores.sessions.run)
    later = await sessions.create("ada")
    await sessions.revoker.replay(world.stores.sessions.run)

    for process in (sessions, forgetful(world)):
        assert await process.verify(gone.token) is None
        for issued in (kept, unaware, later, stranger):
            assert await process.verify(issued.token) == issued.session
    assert (await kinds(world, kept)).count(b"revoked-all") == 1
    await assert_sound(world)


async def test_a_lost_end_of_everyone_is_replayed(world):
    """P4: a replay ends the sessions of all users of a tag again, once; logins after it live."""
    sessions, _ = joined(world)
    gone, stranger = await sessions.create("ada"), await sessions.create("eve")
    copy = await copied(world)
    await world.advance(1)
    await sessions.revoke_everyone()
    await take_over(world, copy)
    assert await forgetful(world).verify(gone.token) is not None
    assert await sessions.verify(gone.token) is None
    assert await sessions.data(stranger.token) is None

    await sessions.revoker.replay(world.stores.sessions.run)
    later = await sessions.create("ada")
    await sessions.revoker.replay(world.stores.sessions.run)

    for process in (sessions, forgetful(world)):
        assert [await process.verify(issued.token) for issued in (gone, stranger)] == [None, None]
        assert await process.verify(later.token) == later.session
    assert (await kinds(world, gone)).count(b"everyone") == 1


async def test_what_a_lost_revoke_all_ended_is_over_before_its_replay(world):
    """P4: the process that revoked accepts no session that a new primary still has, whatever the verb."""
    sessions, _ = joined(world)
    gone = await sessions.create("ada")
    await world.advance(2 * UNSETTLED_MS)
    copy = await copied(world)
    await sessions.revoke_all("ada")
    await take_over(world, copy)

    assert await forgetful(world).verify(gone.token) is not None
    assert await sessions.verify(gone.token) is None
    assert await sessions.patch(gone.token, {"name": 1}) == DataRefused(reason="over")
    assert await sessions.data(gone.token) is None


async def test_a_login_that_a_former_primary_ran_late_is_ended_by_a_replay(world):
    """P4: its first attempt hung there and ran after a revoke-all had ended the second one; that server leads again."""
    sent = []

    class Remembering:
        async def run_durably(self, script, keys, args):
            sent.append((script, keys, args))
            return await world.stores.sessions.run_durably(script, keys, args)

    copy = await copied(world)
    gone = await Sessions(Remembering(), world.keyring, world.metrics).create("ada")
    await world.advance(1)
    sessions, _ = joined(world)
    await sessions.revoke_all("ada")
    await take_over(world, copy)
    await world.advance(1)
    await world.stores.sessions.run(*sent[0])
    assert await forgetful(world).verify(gone.token) is not None

    await sessions.revoker.replay(world.stores.sessions.run)

    for process in (sessions, forgetful(world)):
        assert await process.verify(gone.token) is None
    await assert_sound(world)


async def test_clocks_of_two_servers_do_not_matter(world):
    """After a replay on a primary whose clock is a minute behind, new logins live, and the next call ends them.

    A login there before the replay, by a process that did not know of the call, is ended: that errs on the safe side.
    """
    sessions, _ = joined(world)
    gone = await sessions.create("ada")
    copy = await copied(world)
    await sessions.revoke_all("ada")
    await take_over(world, copy)
    world.step_back(60_000)
    unaware = await forgetful(world).create("ada")

    await sessions.revoker.replay(world.stores.sessions.run)
    later = await sessions.create("ada")

    for process in (sessions, forgetful(world)):
        assert [await process.verify(issued.token) for issued in (gone, unaware)] == [None, None]
        assert await process.verify(later.token) == later.session
    await sessions.revoke_all("ada")
    assert await forgetful(world).verify(later.token) is None


async def test_a_revocation_that_was_not_lost_is_not_repeated(world):
    """On a primary that has the call or a later one a replay changes nothing: sessions that began since live."""
    first, second = forgetful(world), forgetful(world)
    await first.create("ada")
    await first.revoke_all("ada")
    await second.create("ada")
    await second.revoke_all("ada")
    later = await second.create("ada")
    before = await copied(world)

    await first.revoker.replay(world.stores.sessions.run)

    assert {key: value for key, (_, value) in (await copied(world)).items()} == {
        key: value for key, (_, value) in before.items()
    }
    assert await first.verify(later.token) == later.session


async def test_a_replay_covers_every_secret(world):
    """After a rotation of the secret, a replay ends sessions under the older secret too."""
    old = await forgetful(world).create("ada")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    sessions = Sessions(world.stores.sessions, keyring, world.metrics)
    new = await sessions.create("ada")
    copy = await copied(world)
    await sessions.revoke_all("ada")
    await take_over(world, copy)

    await sessions.revoker.replay(world.stores.sessions.run)

    unaware = Sessions(world.stores.sessions, keyring, world.metrics)
    assert [await unaware.verify(issued.token) for issued in (old, new)] == [None, None]


class FailingOver:
    """A store whose primary is replaced, before the caller has its answer, by one that lost the call."""

    def __init__(self, world: StoreWorld) -> None:
        self.world = world
        self.run = world.stores.sessions.run
        self.sessions: Sessions | None = None

    async def run_durably(self, script: str, keys: Any, args: Any) -> tuple[list[Any], bool]:
        copy = await copied(self.world)
        reply = await self.run(script, keys, args)
        await take_over(self.world, copy)
        assert self.sessions is not None
        await self.sessions.revoker.replay(self.run)
        return reply, False


@pytest.mark.parametrize("whole", [False, True])
async def test_a_revocation_during_a_failover_reaches_the_new_primary(world, whole):
    """A call that was answered during a failover is repeated on the new primary before the caller has its answer."""
    issued = await forgetful(world).create("ada")
    store = FailingOver(world)
    sessions = Sessions(store, world.keyring, world.metrics)
    store.sessions = sessions

    await (sessions.revoke_all("ada") if whole else sessions.revoke("ada", issued.session.sid))

    assert await forgetful(world).verify(issued.token) is None
    await assert_sound(world)


def test_a_log_that_is_held_forgets_nothing() -> None:
    """While a replay is due entries do not expire, however long it takes; then each has the time left that it had."""
    clock = Clock()
    log = RevocationLog(clock=clock)
    log.add(one(1))
    clock.now_s += RETENTION_S - 10
    log.hold()
    log.hold()
    clock.now_s += 10 * RETENTION_S
    log.add(one(2))

    assert log.contains(one(1).sid)
    assert log.entries() == (one(1), one(2))
    log.release()
    log.release()
    clock.now_s += 9
    assert log.contains(one(1).sid)
    clock.now_s += 2
    assert log.entries() == (one(2),)
    clock.now_s += RETENTION_S
    assert log.entries() == ()


async def test_a_replay_that_is_refused_sends_one_call_and_keeps_the_log() -> None:
    """A primary that may not write refuses the first revocation and is spared the others; all stay to be replayed."""
    clock = Clock()
    log = RevocationLog(clock=clock)
    keyring = Keyring(secrets=(b"a secret for tests, 32 bytes or more",))
    sessions = Sessions(None, keyring, Metrics(), revocation_log=log)  # type: ignore[arg-type] - only the replay calls
    sent: list[Any] = []

    async def refuse(*call: Any) -> list[Any]:
        sent.append(call)
        raise ConnectionError("NOREPLICAS")

    async def run(*call: Any) -> list[Any]:
        sent.append(call)
        return [1]

    for number in range(1_200):
        log.add(one(number))
    with pytest.raises(ConnectionError):
        await sessions.revoker.replay(refuse)
    assert len(sent) == 1
    clock.now_s += 2 * RETENTION_S

    sent.clear()
    await sessions.revoker.replay(run)

    assert sent == [one(number).call(UNNAMED) for number in range(1_200)]
    clock.now_s += 2 * RETENTION_S
    assert log.entries() == ()
