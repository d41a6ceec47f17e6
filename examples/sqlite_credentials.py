"""Accounts in a file of SQLite, in place of Redis. Run it in a clone with `python -m examples.sqlite_credentials`.

Install what it needs with `pip install .`.

It signs a user up, or logs them in, and keeps the account in `accounts.sqlite`. Sessions and the throttle are in the
server of TOLLHOUSE_URL, or in an embedded one. TOLLHOUSE_SECRET makes the passwords of one run good in the next: keep
the output of `openssl rand -hex 32`.

The store is one table, of which any database is capable. Processes of one machine may share the file; let no other user
read its folder.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tollhouse
from tollhouse import Credentials, StoreUnavailable, WriteResult, decode_credentials

CALLS_MAX = 100
"""So many calls of a process wait for the file at most."""
DEADLINE_S = 2.0
"""A call takes so long at most, and waits half of it for the writes of other processes."""
SCHEMA = """
    CREATE TABLE IF NOT EXISTS accounts (
        name TEXT PRIMARY KEY,  -- compared byte by byte, as everything in SQLite
        handle TEXT UNIQUE,
        record BLOB NOT NULL
    ) WITHOUT ROWID
"""
WRITTEN = WriteResult(durable=True)
"""With `synchronous = FULL` a change is on the disk before it is answered."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class SqliteCredentials:
    """Keeps credentials in a file, by one connection in a thread of its own; a failed call leaves nothing half done."""

    def __init__(self, path: Path | str, *, deadline_s: float = DEADLINE_S) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="accounts")
        self._waiting: set[Future[Any]] = set()
        self._connection: sqlite3.Connection | None = None

    async def load(self, user: str) -> Credentials | None:
        return await self._call(self._read, lambda db: _load(db, user))

    async def find(self, handle: str) -> str | None:
        return await self._call(self._read, lambda db: _find(db, handle))

    async def create(self, credentials: Credentials) -> WriteResult | None:
        return await self._call(self._write, lambda db: _create(db, credentials))

    async def replace(self, before: Credentials, after: Credentials) -> WriteResult | None:
        return await self._call(self._write, lambda db: _replace(db, before, after))

    async def delete(self, before: Credentials) -> WriteResult | None:
        return await self._call(self._write, lambda db: _delete(db, before))

    async def aclose(self) -> None:
        """Close the file, behind the calls that are waiting."""
        self._thread.submit(self._disconnect)
        await asyncio.to_thread(self._thread.shutdown)

    async def _call(self, step: Callable[[Work[T]], T], work: Work[T]) -> T:
        """Return what a step does in the thread; raise StoreUnavailable if it fails, or is not done in time."""
        if len(self._waiting) >= CALLS_MAX:
            raise StoreUnavailable("accounts", "not-sent", f"{CALLS_MAX} calls wait for {self._path}")
        running = self._thread.submit(step, work)
        self._waiting.add(running)
        running.add_done_callback(self._waiting.discard)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.wrap_future(running)
        except TimeoutError as error:
            # What waits for the thread still never begins; what has begun goes on, and its end is not known.
            reason = f"{self._path}: no answer within {self._deadline_s} s"
            raise StoreUnavailable("accounts", "not-sent" if running.cancel() else "ambiguous", reason) from error

    def _read(self, work: Work[T]) -> T:
        with self._failing("rejected"):
            return work(self._connect())

    def _write(self, work: Work[T]) -> T:
        with self._failing("rejected"):
            db = self._connect()
            db.execute("BEGIN IMMEDIATE")  # no other process writes from here on: what is read stays true
            result = work(db)
        with self._failing("ambiguous"):
            db.execute("COMMIT")
        return result

    @contextmanager
    def _failing(self, outcome: Literal["rejected", "ambiguous"]) -> Generator[None, None, None]:
        """Roll back on any error; one of the database is an outage, which the next call finds over or not."""
        try:
            yield
        except BaseException as error:
            self._disconnect()
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailable("accounts", outcome, f"{self._path}: {error}") from error
            raise

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=self._deadline_s / 2, isolation_level=None)
            for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", SCHEMA):
                self._connection.execute(statement)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _load(db: sqlite3.Connection, user: str) -> Credentials | None:
    row = db.execute("SELECT record FROM accounts WHERE name = ?", (user,)).fetchone()
    return None if row is None else decode_credentials(row[0])


def _find(db: sqlite3.Connection, handle: str) -> str | None:
    row = db.execute("SELECT name FROM accounts WHERE handle = ?", (handle,)).fetchone()
    return None if row is None else str(row[0])


def _create(db: sqlite3.Connection, made: Credentials) -> WriteResult | None:
    row = made.user, made.handle, made.encoded()
    done = db.execute("INSERT INTO accounts (name, handle, record) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", row)
    return WRITTEN if done.rowcount == 1 else None


def _replace(db: sqlite3.Connection, before: Credentials, after: Credentials) -> WriteResult | None:
    stored = _load(db, before.user)
    if stored is None or not (stored.is_same(before) or stored.is_same(after)):
        return None
    row = after.handle, after.encoded(), after.user
    db.execute("UPDATE accounts SET handle = ?, record = ? WHERE name = ?", row)
    return WRITTEN


def _delete(db: sqlite3.Connection, before: Credentials) -> WriteResult | None:
    stored = _load(db, before.user)
    if stored is None or not stored.is_same(before):
        return None
    db.execute("DELETE FROM accounts WHERE name = ?", (before.user,))
    return WRITTEN


async def enter(user: str, password: str) -> str:
    """Sign a user up, or log them in if the name is taken; return the name of the outcome."""
    store = SqliteCredentials("accounts.sqlite")
    try:
        async with tollhouse.open(credential_store=store) as th:
            made = await th.accounts.sign_up(user, password, address="127.0.0.1")
            if isinstance(made, tollhouse.NameTaken):
                return type(await th.accounts.login(user, password, address="127.0.0.1")).__name__
            return type(made).__name__
    except (tollhouse.InvalidInput, StoreUnavailable) as error:
        return str(error)
    finally:
        await store.aclose()


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(enter(input("name: "), getpass("password: "))) + "\n")
