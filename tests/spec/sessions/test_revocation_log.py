"""What ended stays ended: the journal, announcements between processes, and a primary that took over too early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.spec.sessions.test_sessions import counted
from tests.spec.stored import assert_sound, keys_of
from tests.worlds import START_MS, StoreWorld
from tollhouse import keys
from tollhouse.keyring import Keyring
from tollhouse.sessions.policies import Policy
from tollhouse.sessions.revocation_log import ENTRIES_MAX, KEPT_S, Journal
from tollhouse.sessions.revocations import ANNOUNCED_BYTES_MAX, Ended, EndedAll, Revocation, announced, notice
from tollhouse.sessions.sessions import Issued, Sessions
from tollhouse.wiring import open_sessions

DIGEST = "0123456789abcdef" * 2
SID, OTHER = "a" * 26, "b" * 26
ONE = Ended(user="ada", digest=DIGEST, sid=SID)
ALL = EndedAll(user="ada", digest=DIGEST, name=OTHER, keep="", epoch_ms=START_MS)
PATIENCE_S = 5.0


class Clock:
    """The journal's clock, which only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def one(number: int) -> Ended:
    return replace(ONE, sid=f"{number:0>26}".translate(str.maketrans("0189", "wxyz")))


@pytest.mark.parametrize("revocation", [ONE, ALL, replace(ALL, keep=SID)])
def test_what_is_announced_can_be_read(revocation: Revocation) -> None:
    """An announcement, as the script writes it, is read as the revocation that it tells of."""
    assert announced(b"%d %s" % (START_MS, notice(revocation).encode())) == revocation


@pytest.mark.parametrize("character", ['"', "\\", "ß", "\N{GRINNING FACE}"])
def test_the_longest_announcement_has_a_bound(character: str) -> None:
    """P10: with the longest user there can be, an announcement is as long as is read, at most."""
    longest = replace(ALL, user=character * 256, keep=SID, epoch_ms=10**14)

    payload = b"%d %s" % (longest.epoch_ms, notice(longest).encode())

    assert len(payload) <= ANNOUNCED_BYTES_MAX
    assert announced(payload) == longest


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
        notice(ONE).encode(),
        b"-1 " + notice(ALL).encode(),
        b"1" * 16 + b" " + notice(ALL).encode(),
        b"1 " + notice(replace(ONE, sid="A" * 26)).encode(),
        b"1 " + notice(replace(ONE, sid=SID + "\n")).encode(),
        b"1 " + notice(replace(ONE, digest="*" * 32)).encode(),
        b"1 " + notice(replace(ONE, user="")).encode(),
        b"1 " + notice(replace(ONE, user="x" * 257)).encode(),
        b"1 " + notice(replace(ALL, keep="x")).encode(),
        b"1 " + notice(ONE).encode().replace(b'"user"', b'"more":1,"user"'),
        b"1 " + notice(ONE).encode() + b" " * ANNOUNCED_BYTES_MAX,
    ],
)
def test_what_no_script_wrote_is_not_believed(payload: bytes) -> None:
    """P10: a text that is no announcement is None, whatever it is; none of it gets into a key's name."""
    assert announced(payload) is None


#    sid    keep   began in the epoch   created                   is over
ENDS = [
    (SID, "", START_MS - 1, START_MS - 9, True),
    (SID, "", 0, START_MS, True),  # created in the same millisecond, before the call
    (SID, "", START_MS, START_MS, False),  # created in the same millisecond, after the call
    (SID, "", START_MS, START_MS - 9, False),  # after the call, on a server whose clock is behind
    (SID, "", 0, START_MS + 1, False),  # after the call, through a process that did not know of it
    (SID, "", 0, START_MS - 9, True),  # the same with a clock that is behind: to be on the safe side
    (SID, SID, 0, START_MS - 9, False),
    (OTHER, SID, 0, START_MS - 9, True),
]


@pytest.mark.parametrize(("sid", "keep", "began_ms", "created_at", "over"), ENDS)
def test_who_is_among_all(sid: str, keep: str, began_ms: int, created_at: int, over: bool) -> None:
    """Epochs decide; a session of a lower epoch lives only if it is kept, or was created later than the epoch says."""
    journal = Journal()
    journal.note(replace(ALL, keep=keep))

    assert journal.outlived([OTHER, DIGEST], sid, began_ms, created_at) is over
    assert not journal.outlived([DIGEST[::-1]], sid, began_ms, created_at)


def test_a_revocation_is_remembered_for_120_seconds() -> None:
    """An entry lasts for 120 s of the process's clock, and no longer; when it comes again, it lasts anew."""
    clock = Clock()
    journal = Journal(clock=clock)
    assert journal.empty
    journal.note(one(1))
    clock.now_s += KEPT_S / 2
    journal.note(one(2))
    clock.now_s += KEPT_S / 2
    assert journal.ended(one(1).sid)
    assert journal.recent() == (one(1), one(2))

    clock.now_s += 0.001
    assert not journal.ended(one(1).sid)
    assert journal.recent() == (one(2),)
    journal.note(one(2))
    clock.now_s += KEPT_S
    assert journal.ended(one(2).sid)
    clock.now_s += 0.001
    assert journal.empty


def test_the_journal_has_a_bound() -> None:
    """P10: beyond its bound the oldest entry goes, which is counted and told; one that is due goes unnoticed."""
    clock = Clock()
    journal = Journal(clock=clock, most=2)
    assert [journal.note(one(number)) for number in (1, 2, 1, 3)] == [True, True, True, False]
    assert journal.recent() == (one(1), one(3))
    assert journal.dropped == 1

    clock.now_s += KEPT_S + 1

    assert journal.note(one(4))
    assert journal.dropped == 1
    assert ENTRIES_MAX == 10_000


@pytest.mark.parametrize(("first_ms", "second_ms"), [(0, 1), (1, 0), (1, 1)])
def test_the_highest_epoch_of_a_user_is_remembered(first_ms: int, second_ms: int) -> None:
    """A user has one entry for all sessions; what an earlier call ended, the later one ended, too."""
    journal = Journal()
    for epoch_ms in (first_ms, second_ms):
        journal.note(replace(ALL, epoch_ms=START_MS + epoch_ms))

    assert journal.recent() == (replace(ALL, epoch_ms=START_MS + 1),)


def joined(world: StoreWorld, stores: Any = None) -> tuple[Sessions, Journal]:
    """Give the sessions of a process that hears what others announce, and its journal."""
    journal = Journal()
    store = world.stores.sessions if stores is None else stores.sessions
    return open_sessions(store, world.keyring, world.metrics, journal=journal), journal


def forgetful(world: StoreWorld) -> Sessions:
    """Give the sessions of a process that has heard of nothing: it says what the store says."""
    return Sessions(world.stores.sessions, world.keyring, world.metrics)


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so, for a bounded time; the other side gets its turn in between."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not await happened():
        assert time.monotonic() < give_up_s, "it did not happen"
        await asyncio.sleep(0)


async def listeners_are(world: StoreWorld, number: int) -> None:
    async def asked() -> bool:
        return (await world.command("sessions", "PUBSUB", "NUMSUB", keys.session_revocations()))[1] == number

    await until(asked)


async def remembers(world: StoreWorld, journal: Journal, number: int) -> None:
    async def asked() -> bool:
        await world.command("sessions", "PING")
        return len(journal.recent()) == number

    await until(asked)


async def copied(world: StoreWorld) -> dict[str, tuple[int, bytes]]:
    """Copy the whole store, as a replica does."""
    return {
        key: (max(await world.command("sessions", "PTTL", key), 0), await world.command("sessions", "DUMP", key))
        for key in await keys_of(world, "sessions")
    }


async def take_over(world: StoreWorld, copy: dict[str, tuple[int, bytes]]) -> None:
    """Let the copy be the store from now on; whatever was written since it was made is lost."""
    await world.command("sessions", "FLUSHDB")
    for key, (left_ms, value) in copy.items():
        await world.command("sessions", "RESTORE", key, left_ms, value)


async def kinds(world: StoreWorld, issued: Issued) -> list[bytes]:
    """Give the kinds of the events of a shard, in their order."""
    reply = await world.command("sessions", "XRANGE", keys.session_events(issued.token.tag), "-", "+")
    return [fields[3] for _, fields in reply]


async def test_all_processes_hear_what_one_of_them_ended(world):
    """P4: another process lets in nothing that this one ended, even if the store has forgotten about it."""
    stores = world.open_stores()
    (first, _), (second, journal) = joined(world), joined(world, stores)
    await asyncio.gather(first.list("nobody"), second.list("nobody"))
    await listeners_are(world, 2)
    gone, kept = await first.create("ada"), await first.create("ada")
    alone, other = await first.create("eve"), await first.create("bob")
    copy = await copied(world)

    await first.revoke_all("ada", keep=kept.session)
    await first.revoke("eve", alone.session.sid)
    await remembers(world, journal, 2)
    await take_over(world, copy)

    assert [await forgetful(world).verify(issued.token) for issued in (gone, alone)] == [gone.session, alone.session]
    assert [await second.verify(issued.token) for issued in (gone, alone)] == [None, None]
    assert [await second.verify(issued.token) for issued in (kept, other)] == [kept.session, other.session]
    await stores.aclose()


async def test_nothing_is_listened_to_before_sessions_are_used(world):
    """A process that has sessions at hand and uses none has no connection that listens; the end ends it."""
    stores = world.open_stores()
    sessions, _ = joined(world, stores)
    await stores.limits.command("PING")
    await stores.sessions.command("PING")
    await listeners_are(world, 0)

    await sessions.list("ada")

    await listeners_are(world, 1)
    await stores.aclose()
    await listeners_are(world, 0)


async def test_what_was_ended_here_is_refused_without_asking(world):
    """P4: for 120 s this process refuses a session that it ended without a call; then the store decides again."""
    clock = Clock()
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, journal=Journal(clock=clock))
    issued = await sessions.create("ada")
    copy = await copied(world)
    await sessions.revoke("ada", issued.session.sid)
    await take_over(world, copy)

    assert await sessions.verify(issued.token) is None
    assert counted(world, "verify", "revoked") == 1

    clock.now_s += KEPT_S + 1
    assert await sessions.verify(issued.token) == issued.session


async def test_what_is_not_ours_is_counted(world):
    """A malformed announcement, an entry that had to go and a pause in hearing are counted, and change nothing."""
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, journal=Journal(most=1))
    sessions.heard(b"nonsense")
    sessions.heard(b"1 " + notice(one(1)).encode())
    sessions.heard(b"1 " + notice(one(2)).encode())
    sessions.missed()

    value = world.metrics.registry.get_sample_value
    assert value("tollhouse_state_discarded_total", {"kind": "announcement"}) == 1
    assert value("tollhouse_state_discarded_total", {"kind": "revocation"}) == 1
    assert counted(world, "hear", "missed") == 1


async def test_only_what_ended_is_remembered(world):
    """Revoking what is not there, or not one's own, and the end by the cap leave the journal empty."""
    policies = {"default": Policy(idle_ms=60_000, absolute_ms=60_000, cap=1)}
    journal = Journal()
    sessions = Sessions(world.stores.sessions, world.keyring, world.metrics, policies, journal=journal)
    issued = await sessions.create("ada")
    await sessions.create("ada")

    await sessions.revoke("ada", issued.session.sid)
    await sessions.revoke("eve", issued.session.sid)

    assert journal.empty


async def test_a_lost_revocation_is_repeated(world):
    """P4: on a primary that lost it, a session is ended again, with its event; a second time there is nothing to do."""
    sessions, _ = joined(world)
    gone, other = await sessions.create("ada"), await sessions.create("ada")
    stranger = await sessions.create("eve")
    copy = await copied(world)
    await sessions.revoke("ada", gone.session.sid)
    await take_over(world, copy)

    await sessions.repeat(world.stores.sessions.run)
    await sessions.repeat(world.stores.sessions.run)

    assert await forgetful(world).verify(gone.token) is None
    assert await forgetful(world).verify(other.token) == other.session
    assert await forgetful(world).verify(stranger.token) == stranger.session
    assert (await kinds(world, gone)).count(b"revoked") == 1
    await assert_sound(world)


async def test_a_lost_end_of_all_is_repeated(world):
    """P4: all that were meant are over on the primary that lost it; what was kept, logins since, and others live."""
    sessions, _ = joined(world)
    gone, kept, stranger = [await sessions.create(user) for user in ("ada", "ada", "eve")]
    copy = await copied(world)
    await sessions.revoke_all("ada", keep=kept.session)
    await take_over(world, copy)
    await world.advance(1)
    unaware = await forgetful(world).create("ada")

    await sessions.repeat(world.stores.sessions.run)
    later = await sessions.create("ada")
    await sessions.repeat(world.stores.sessions.run)

    for process in (sessions, forgetful(world)):
        assert await process.verify(gone.token) is None
        for issued in (kept, unaware, later, stranger):
            assert await process.verify(issued.token) == issued.session
    assert (await kinds(world, kept)).count(b"revoked-all") == 1
    await assert_sound(world)


async def test_clocks_of_two_servers_do_not_matter(world):
    """After the call is repeated where the clock is a minute behind, new logins live, and are ended by the next call.

    A login there that came before, through a process that did not know, is ended: better that than the reverse.
    """
    sessions, _ = joined(world)
    gone = await sessions.create("ada")
    copy = await copied(world)
    await sessions.revoke_all("ada")
    await take_over(world, copy)
    world.step_back(60_000)
    unaware = await forgetful(world).create("ada")

    await sessions.repeat(world.stores.sessions.run)
    later = await sessions.create("ada")

    for process in (sessions, forgetful(world)):
        assert [await process.verify(issued.token) for issued in (gone, unaware)] == [None, None]
        assert await process.verify(later.token) == later.session
    await sessions.revoke_all("ada")
    assert await forgetful(world).verify(later.token) is None


async def test_what_was_not_lost_is_not_repeated(world):
    """Where the call arrived, or a later one, repeating it changes nothing: sessions that began since live."""
    first, second = forgetful(world), forgetful(world)
    await first.create("ada")
    await first.revoke_all("ada")
    await second.create("ada")
    await second.revoke_all("ada")
    later = await second.create("ada")
    before = await copied(world)

    await first.repeat(world.stores.sessions.run)

    assert {key: value for key, (_, value) in (await copied(world)).items()} == {
        key: value for key, (_, value) in before.items()
    }
    assert await first.verify(later.token) == later.session


async def test_all_secrets_are_repeated(world):
    """After a rotation of the secret, sessions under the older one are ended again, too."""
    old = await forgetful(world).create("ada")
    keyring = Keyring(secrets=(b"the next secret, also 32 bytes or more", *world.keyring.secrets))
    sessions = Sessions(world.stores.sessions, keyring, world.metrics)
    new = await sessions.create("ada")
    copy = await copied(world)
    await sessions.revoke_all("ada")
    await take_over(world, copy)

    await sessions.repeat(world.stores.sessions.run)

    unaware = Sessions(world.stores.sessions, keyring, world.metrics)
    assert [await unaware.verify(issued.token) for issued in (old, new)] == [None, None]


class Replaced:
    """A store whose primary is replaced by one that lost the call, before the caller has its answer."""

    def __init__(self, world: StoreWorld) -> None:
        self.world = world
        self.run = world.stores.sessions.run
        self.sessions: Sessions | None = None

    async def run_durably(self, script: str, keys: Any, args: Any) -> tuple[list[Any], bool]:
        copy = await copied(self.world)
        reply = await self.run(script, keys, args)
        await take_over(self.world, copy)
        assert self.sessions is not None
        await self.sessions.repeat(self.run)
        return reply, False


@pytest.mark.parametrize("whole", [False, True])
async def test_a_primary_that_comes_in_between_is_told(world, whole):
    """A call that was answered while another primary took over is repeated there before the caller has its answer."""
    issued = await forgetful(world).create("ada")
    store = Replaced(world)
    sessions = Sessions(store, world.keyring, world.metrics)
    store.sessions = sessions

    await (sessions.revoke_all("ada") if whole else sessions.revoke("ada", issued.session.sid))

    assert await forgetful(world).verify(issued.token) is None
    await assert_sound(world)
