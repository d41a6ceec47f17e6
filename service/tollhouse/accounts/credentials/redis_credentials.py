"""The credential store over Redis or Valkey: what an application has that brings none of its own.

A change first moves the account to the key of the newest secret (see records.py), so that a change is written
to the record that counts. With one secret there is one key, and every method is one call.

A name is taken if any key has a record. Processes that have the secrets in another order, as in the middle of a
rotation, create accounts under other keys. So with several secrets a new record is pending at first: it reserves the
name for a minute and opens nothing, and is confirmed only if there is none under any other key after that. Of two
sign-ups at once at least one sees the other, and gives up; perhaps both do.

A user handle that a change brings is in the index before it is in the record (see handles.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tollhouse.accounts.credentials.credentials import Credentials, WriteResult
from tollhouse.accounts.credentials.handles import UserHandles
from tollhouse.accounts.credentials.records import AccountRecord, AccountRecords
from tollhouse.accounts.credentials.stored_fields import changing_fields
from tollhouse.errors import Steps
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import Argument, DurableScriptRunner

MARK_MS: Final = 86_400_000
"""How long the mark of a deleted account stays: longer than a process can pause between two steps of a move."""

_PENDING_MS: Final = 60_000
"""How long a sign-up may take from its reservation to its confirmation; a process that stops between them loses it."""


class RedisCredentials:
    """Keeps the credentials of accounts in hashes, each under a digest of its name."""

    def __init__(self, store: DurableScriptRunner, keyring: Keyring, metrics: Metrics, namespace: Namespace) -> None:
        self._store = store
        self._newest = keyring.key_ids()[0]
        self._records = AccountRecords(store, keyring, metrics, namespace)
        self._handles = UserHandles(store, namespace)

    async def load(self, user: str) -> Credentials | None:
        """Return the credentials of a name, or None if there is no account."""
        return (await self._records.load(user)).credentials

    async def create(self, credentials: Credentials) -> WriteResult | None:
        """Store a new account; return None, and write nothing, if the name is taken."""
        return await self._with_handle(None, credentials, lambda: self._create(credentials))

    async def replace(self, before: Credentials, after: Credentials) -> WriteResult | None:
        """Store `after` in place of `before`; return None, and write nothing, if it has changed or is gone."""
        return await self._with_handle(before.handle, after, lambda: self._replace(before, after))

    async def delete(self, before: Credentials) -> WriteResult | None:
        """Delete the account and leave its mark; return None, and delete nothing, if it has changed or is gone."""
        account = await self._settled(before)
        if account is None:
            return None
        key, others = account.key, [key for key in self._records.keys(before.user).values() if key != account.key]
        with Steps() as steps:
            args = (*_version(before), MARK_MS)
            (deleted, moves), durable = await self._store.run_durably("accounts/delete", (key,), args)
            if deleted != 1:
                return None
            steps.begun = True
            burials = [self._store.run("accounts/bury", (other,), (moves, MARK_MS)) for other in others]
            await asyncio.gather(*burials)
            if (handle := account.credentials.handle) is not None:
                await self._handles.forget(handle)
        return WriteResult(durable=durable)

    async def find(self, handle: str) -> str | None:
        """Return the name of the account with this user handle, or None; it may be gone, or have another one."""
        return await self._handles.find(handle)

    async def _with_handle(
        self, known: str | None, after: Credentials, write: Callable[[], Awaitable[WriteResult | None]]
    ) -> WriteResult | None:
        """Write a change, and before it the index of a handle that the account has not `known`."""
        handle = after.handle
        if handle is None or handle == known:
            return await write()
        with Steps() as steps:
            claimed = await self._handles.claim(handle, after)
            steps.begun = True
            written = await write()
            if written is not None:
                return WriteResult(durable=written.durable and claimed)
            # A change whose reply was lost may be stored, under a later one that has kept its handle.
            stored = await self.load(after.user)
            if stored is None or stored.handle != handle:
                await self._handles.release(handle, after)
            return None

    async def _create(self, credentials: Credentials) -> WriteResult | None:
        key, *others = self._records.keys(credentials.user).values()
        phc, key_id, disabled, revision, rest = changing_fields(credentials, self._newest)
        fields = (credentials.user, phc, key_id, credentials.created_ms, disabled, revision, rest)
        if not others:
            (made,), durable = await self._store.run_durably("accounts/create", (key,), (*fields, 0))
            return WriteResult(durable=durable) if made == 1 else None
        with Steps() as steps:
            (made,) = await self._store.run("accounts/create", (key,), (*fields, _PENDING_MS))
            if made != 1:
                return None
            steps.begun = True
            if any(await asyncio.gather(*map(self._records.read, others))):
                await self._records.remove(key, -1, revision, linger_ms=0)
                return None
            (confirmed,), durable = await self._store.run_durably("accounts/confirm", (key,), (revision,))
            return WriteResult(durable=durable) if confirmed == 1 else None

    async def _replace(self, before: Credentials, after: Credentials) -> WriteResult | None:
        key, *others = self._records.keys(before.user).values()
        args = (*_version(before), *changing_fields(after, self._newest))
        if not others and (written := await self._write(key, args)) is not None:
            return written
        account = await self._settled(before, after)
        return None if account is None else await self._write(account.key, args)

    async def _write(self, key: str, args: Sequence[Argument]) -> WriteResult | None:
        (replaced,), durable = await self._store.run_durably("accounts/replace", (key,), args)
        return WriteResult(durable=durable) if replaced == 1 else None

    async def _settled(self, *versions: Credentials) -> AccountRecord | None:
        """Return the account of a name under the key of the newest secret, if it has one of these versions."""
        found = await self._records.load(versions[0].user)
        account = found.account
        if account is None or not any(map(account.credentials.is_same, versions)):
            return None
        return await self._records.settle(found)


def _version(credentials: Credentials) -> tuple[str, str]:
    """Return what a change compares: the revision, and the hash, which an earlier version renews without another."""
    return credentials.revision, "" if credentials.password is None else credentials.password.phc
