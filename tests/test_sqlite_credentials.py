"""The example of an application's own store: credentials in SQLite, by several processes, and when the file fails."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import tollhouse
from examples import sqlite_credentials as example
from examples.sqlite_credentials import CALLS_MAX, SqliteCredentials
from tests.accounts import HERE, RIGHT, WRONG
from tests.project.imports import ROOT
from tollhouse import StoreUnavailable, WriteResult
from tollhouse.accounts.factors.totp import otp, step_at
from tollhouse.testing import CredentialStoreConformance, World
from tollhouse.testing.credential_stores import credentials, loaded, written

SECRET = b"a secret of 32 bytes, or of more"
COUNTING = """
import asyncio, sys
from examples.sqlite_credentials import SqliteCredentials

async def count(path, times):
    store = SqliteCredentials(path, deadline_s=60)
    for number in range(times):
        if not number % 100:
            print(number, flush=True)
        written = None
        while written is None:
            before = await store.load("ada")
            written = await store.replace(before, before.changed(password_changed_ms=before.password_changed_ms + 1))
    await store.aclose()

asyncio.run(count(sys.argv[1], int(sys.argv[2])))
"""
FILLING = """
import asyncio, resource, sys
from examples.sqlite_credentials import SqliteCredentials
from tollhouse import StoreUnavailable
from tollhouse.testing.credential_stores import credentials

async def fill(path):
    store, number = SqliteCredentials(path), 0
    await store.create(credentials("first"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        while True:
            await store.create(credentials(f"user{number}"))
            number += 1
    except StoreUnavailable as error:
        print(number, error.outcome, (await store.load("first")).user)
    await store.aclose()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)

asyncio.run(fill(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteCredentials]:
    opened = SqliteCredentials(path, deadline_s=20)
    yield opened
    await opened.aclose()


class TestSqliteCredentials(CredentialStoreConformance):
    """SQLite keeps what a credential store is to keep."""


class InTurn:
    """Two stores on one file, as of two processes: each call goes to the other one."""

    def __init__(self, *stores: SqliteCredentials) -> None:
        self._stores = deque(stores)

    def __getattr__(self, name: str) -> Callable[..., object]:
        self._stores.rotate()
        return getattr(self._stores[0], name)


class TestTwoConnections(CredentialStoreConformance):
    """What one connection writes the other one reads, and of calls at once one writes."""

    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[InTurn]:
        stores = [SqliteCredentials(path, deadline_s=20) for _ in range(2)]
        yield InTurn(*stores)
        for one in stores:
            await one.aclose()


def code_of(secret: str, now_ms: int) -> str:
    """Return the code that an app shows."""
    return otp(base64.b32decode(secret), step_at(now_ms))


async def program(text: str, *arguments: object) -> asyncio.subprocess.Process:
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)


async def test_no_change_of_two_processes_is_lost(store: SqliteCredentials, path: Path) -> None:
    """Each of them adds one to a number fifty times, by compare-and-set."""
    await written(store, credentials(password_changed_ms=0))

    processes = [await program(COUNTING, path, 50) for _ in range(2)]

    assert [await process.wait() for process in processes] == [0, 0]
    assert (await loaded(store)).password_changed_ms == 100


async def test_a_process_that_is_killed_leaves_a_whole_file(store: SqliteCredentials, path: Path) -> None:
    """In the middle of its changes; others go on at once, with the last one that was written."""
    await written(store, credentials(password_changed_ms=0))
    process = await program(COUNTING, path, 1_000_000)
    assert process.stdout is not None
    await process.stdout.readline()

    process.send_signal(signal.SIGKILL)
    await process.wait()

    before = await loaded(store)
    assert await store.replace(before, before.changed(password_changed_ms=0)) is not None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_full_disk_refuses_and_keeps_what_was_written(store: SqliteCredentials, path: Path) -> None:
    """The write that fails has changed nothing, or says that it may have; reads go on, and all else is there."""
    process = await program(FILLING, path)
    output, _ = await process.communicate()

    number, outcome, first = output.decode().split()

    assert (int(number) > 10, first) == (True, "first")
    names = ["first", *(f"user{one}" for one in range(int(number)))]
    assert [(await loaded(store, name)).user for name in names] == names
    refused = await store.load(f"user{number}")
    assert outcome == "ambiguous" or (outcome, refused) == ("rejected", None)


@contextmanager
def locked(path: Path):
    """Hold the lock of all writes, as another process that writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_a_lock_of_another_process_is_waited_for_and_then_an_outage(path: Path) -> None:
    """Reads go on meanwhile; nothing was changed, and the next write succeeds once the lock is free."""
    store = SqliteCredentials(path, deadline_s=0.2)
    before = await written(store, credentials())
    after = before.changed(disabled=True)

    with locked(path):
        with pytest.raises(StoreUnavailable, match="database is locked") as refused:
            await store.replace(before, after)
        assert not (await loaded(store)).disabled

    assert (refused.value.store, refused.value.outcome) == ("accounts", "rejected")
    assert await store.replace(before, after) is not None
    await store.aclose()


@contextmanager
def busy(store: SqliteCredentials):
    """Keep the thread of a store busy."""
    done = threading.Event()
    store._thread.submit(done.wait)
    try:
        yield
    finally:
        done.set()


async def test_what_waits_for_the_thread_is_bounded(path: Path) -> None:
    """In number, and in time: what has not begun says so, and never runs."""
    store = SqliteCredentials(path, deadline_s=0.05)
    with busy(store):
        waiting = [asyncio.create_task(store.create(credentials(f"user{number}"))) for number in range(CALLS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="100 calls wait") as refused:
            await store.load("ada")
        errors = await asyncio.gather(*waiting, return_exceptions=True)

    assert refused.value.outcome == "not-sent"
    assert {error.outcome for error in errors if isinstance(error, StoreUnavailable)} == {"not-sent"}
    assert len(errors) == CALLS_MAX
    assert await store.load("user0") is None
    await store.aclose()


async def test_a_write_that_takes_too_long_may_have_run(path: Path) -> None:
    """It goes on, and the next call finds what it did."""
    store, go_on = SqliteCredentials(path, deadline_s=0.2), threading.Event()

    def slow(db: sqlite3.Connection) -> WriteResult | None:
        go_on.wait()
        return example._create(db, credentials())

    await store.load("ada")
    with pytest.raises(StoreUnavailable, match=r"no answer within 0\.2 s") as late:
        await store._call(store._write, slow)
    go_on.set()

    assert late.value.outcome == "ambiguous"
    assert await store.load("ada") is not None
    await store.aclose()


async def test_a_caller_that_leaves_leaves_nothing_locked(store: SqliteCredentials) -> None:
    """What has not begun does not begin, and the next call is served."""
    with busy(store):
        leaving = asyncio.create_task(store.create(credentials()))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    assert await store.load("ada") is None
    await written(store, credentials())


async def test_a_file_that_cannot_be_used_is_an_outage_until_it_can(tmp_path: Path) -> None:
    """A folder that is not there, or a file that is no database: each call tries anew."""
    folder = tmp_path / "later"
    store = SqliteCredentials(folder / "accounts.sqlite")
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        await store.load("ada")
    folder.mkdir()
    (folder / "accounts.sqlite").write_text("no database at all, but a text", encoding="utf-8")
    with pytest.raises(StoreUnavailable, match="file is not a database"):
        await store.load("ada")

    (folder / "accounts.sqlite").unlink()

    await written(store, credentials())
    await store.aclose()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
async def test_a_folder_without_the_right_to_write_is_an_outage(store: SqliteCredentials, path: Path) -> None:
    """Nothing is changed, and the call says so."""
    await written(store, credentials())
    await store.aclose()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(StoreUnavailable) as refused:
            await SqliteCredentials(path).create(credentials("bob"))
    finally:
        path.parent.chmod(0o700)

    assert refused.value.outcome == "rejected"


async def test_a_damaged_record_opens_nothing(store: SqliteCredentials, path: Path) -> None:
    """Its calls raise, those of other accounts go on, and no transaction stays open."""
    before = await written(store, credentials())
    await written(store, credentials("bob"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE accounts SET record = '{' WHERE name = 'ada'")

    for call in (store.load("ada"), store.replace(before, before.changed()), store.delete(before)):
        with pytest.raises(ValueError, match="truncated"):
            await call

    assert (await loaded(store, "bob")).user == "bob"
    with closing(sqlite3.connect(path, timeout=0)) as db, db:
        db.execute("DELETE FROM accounts WHERE name = 'ada'")


async def test_accounts_live_in_the_file(store: SqliteCredentials) -> None:
    """A sign-up, a second factor, a login in two steps and a deletion; another Redis finds the same account."""
    settings = tollhouse.Settings(url="fake://own-store", secret=(SECRET,), password_profile="owasp")
    with World("fake://own-store") as world:
        async with tollhouse.open(settings, credential_store=store) as th:
            made = await th.accounts.sign_up("ada", RIGHT, address=HERE)
            assert made == tollhouse.AccountCreated(user="ada", durable=True)
            logged_in = await th.accounts.login("ada", RIGHT, address=HERE)
            assert isinstance(logged_in, tollhouse.LoginSucceeded)
            seed = await th.accounts.factors.begin_totp(logged_in.issued.session)
            assert isinstance(seed, tollhouse.TotpEnrolment)
            session, code = logged_in.issued.session, code_of(seed.secret, world.now_ms)
            changed = await th.accounts.factors.confirm_totp(session, code)
            assert isinstance(changed, tollhouse.RecoveryCodesMade)
        world.flush()
        world.advance(seconds=60)
        async with tollhouse.open(settings, credential_store=store) as th:
            due = await th.accounts.login("ada", RIGHT, address=HERE)
            assert isinstance(due, tollhouse.SecondFactorDue)
            code = code_of(seed.secret, world.now_ms)
            result = await th.accounts.login_by_code(due.ticket, "totp", code, address=HERE)
            assert isinstance(result, tollhouse.LoginSucceeded)
            deleted = await th.accounts.delete_own(result.issued.token, RIGHT, address=HERE)
            assert isinstance(deleted, tollhouse.AccountDeleted)

    assert await store.load("ada") is None


async def test_the_program_signs_up_and_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what its first line runs: a second run with the same secret finds the account of the first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOLLHOUSE_URL", "fake://sqlite-example")
    monkeypatch.setenv("TOLLHOUSE_SECRET", SECRET.hex())
    monkeypatch.setenv("TOLLHOUSE_PASSWORD_PROFILE", "owasp")

    told = [await example.enter("ada", password) for password in (RIGHT, RIGHT, "short", WRONG)]

    assert told[:2] == ["AccountCreated", "LoginSucceeded"]
    assert [("password" in told[2]), told[3]] == [True, "WrongCredentials"]
