"""Account records: one account for each name, whichever of the secrets its key was derived from.

The key of an account is derived from a secret. After a rotation it is looked for under every secret that is
configured, and moves to the key of the newest one when its user logs in. The two keys may lie on different shards, so a
move is three calls:

1. `depart` marks the record with its target and returns it. A marked record does not change any more.
2. `arrive` stores what was returned under the other key, with one move more, unless a record of as many moves is there.
3. `remove` removes the marked record, a minute later: a login that read the other key too early finds it still.

Of all records of a name the one with the most moves is the account. So after every step, and after any number of
processes have taken it, one record counts, and it has all that was ever written: before 2 it is the marked one, which
opens the account as before and which any login moves on, from 2 on the other one. What comes late changes nothing: a
mark that is there already, an arrival of fewer moves, a change of a marked record.

A name is taken if any key has a record. Processes that have the secrets in another order, as in the middle of a
rotation, create accounts under other keys. So with several secrets a new record is pending at first: it reserves the
name for a minute and opens nothing, and is confirmed only if there is none under any other key after that. Of two
sign-ups at once at least one sees the other, and gives up; perhaps both do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.accounts.hashing.passwords import StoredHash
from tollhouse.errors import Steps
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.scripts import DurableScriptRunner

_ACCOUNT_LABEL: Final = "account"
_PENDING_MS: Final = 60_000
"""How long a sign-up may take from its reservation to its confirmation; a process that stops between them loses it."""
_LINGER_MS: Final = 60_000
"""How long a record that has moved on stays: longer than any login takes from one key to the next."""


class AccountRecord(Struct, frozen=True, kw_only=True):
    """A record of an account; `secret` is the key id of the secret of its key, `target` that of the key it moves to.

    Moves are -1 while a sign-up is pending.
    """

    key: str
    secret: str
    disabled: bool
    stored: StoredHash
    moves: int
    target: str | None


class NameRecords(Struct, frozen=True, kw_only=True):
    """The keys that the account of a name may have, by the key ids of their secrets, the newest first; its records."""

    user: str
    keys: Mapping[str, str]
    records: Sequence[AccountRecord]

    @property
    def newest(self) -> str:
        """The key id of the newest secret."""
        return next(iter(self.keys))

    @property
    def is_taken(self) -> bool:
        """Whether another sign-up may have the name."""
        return bool(self.records)

    @property
    def account(self) -> AccountRecord | None:
        """The account, or None."""
        first = max(self.records, key=lambda record: record.moves, default=None)
        return None if first is None or first.moves < 0 else first

    @property
    def older_secret(self) -> str | None:
        """The key id of an older secret that the account still needs, or None."""
        account = self.account
        needed = () if account is None else (account.stored.key_id, account.secret)
        return next((key_id for key_id in needed if key_id != self.newest), None)


class AccountRecords:
    """Loads, creates and moves accounts."""

    def __init__(self, store: DurableScriptRunner, keyring: Keyring, namespace: Namespace) -> None:
        self._store = store
        self._keyring = keyring
        self._namespace = namespace

    async def load(self, user: str) -> NameRecords:
        """Return what is stored under a name."""
        digests = self._keyring.digests(_ACCOUNT_LABEL, user)
        keys = dict(zip(self._keyring.key_ids(), map(self._namespace.account, digests), strict=True))
        # Every key is read, whether or not an earlier one exists: timing does not show whether there is an account.
        replies = await asyncio.gather(*map(self._read, keys.values()))
        named = zip(keys.items(), replies, strict=True)
        records = [_record(secret, key, reply) for (secret, key), reply in named if reply]
        return NameRecords(user=user, keys=keys, records=records)

    async def create(self, found: NameRecords, stored: StoredHash) -> tuple[bool, bool]:
        """Create the account of a name; return whether the name was free, and whether the account is durable."""
        key, *others = found.keys.values()
        fields = (found.user, stored.phc, stored.key_id)
        if not others:
            (made,), durable = await self._store.run_durably("accounts/create", (key,), (*fields, 0))
            return made == 1, durable
        with Steps() as steps:
            (made,) = await self._store.run("accounts/create", (key,), (*fields, _PENDING_MS))
            if made != 1:
                return False, False
            steps.begun = True
            if any(await asyncio.gather(*map(self._read, others))):
                await self._remove(key, -1, stored.phc, 0)
                return False, False
            (confirmed,), durable = await self._store.run_durably("accounts/confirm", (key,), (stored.phc,))
            return confirmed == 1, durable

    async def settle(self, found: NameRecords) -> AccountRecord:
        """Move the account to the key of the newest secret, or finish its move; return it, with the key it has then."""
        account = moved = found.account
        assert moved is not None, "a password was right, so there is an account"
        for record in found.records:
            if record is account and (record.target is not None or record.secret != found.newest):
                moved = replace(moved, key=await self._move(record, found))
            elif record.target is not None:
                await self._remove(record.key, record.moves, record.stored.phc, _LINGER_MS)
        return moved

    async def replace_hash(self, account: AccountRecord, renewed: StoredHash) -> None:
        """Store a new hash of the same password; one that changed meanwhile stays."""
        args = (account.stored.phc, renewed.phc, renewed.key_id)
        await self._store.run("accounts/replace_hash", (account.key,), args)

    async def _read(self, key: str) -> list[Any]:
        return await self._store.run("accounts/load", (key,), ())

    async def _remove(self, key: str, moves: int, phc: str | bytes, linger_ms: int) -> None:
        await self._store.run("accounts/remove", (key,), (moves, phc, linger_ms))

    async def _move(self, record: AccountRecord, found: NameRecords) -> str:
        """Move an account to its target, or to the key of the newest secret; return the key that it has then.

        A target whose secret is gone is replaced: no process is left that could move the account there.
        """
        former = record.target or ""
        target = former if former in found.keys else found.newest
        reply, _ = await self._store.run_durably("accounts/depart", (record.key,), (target, former))
        if not reply:  # another login has moved it on
            return found.keys[target]
        moves, disabled, created_ms, user, phc, key_id, departed = reply
        key = found.keys.get(departed.decode())
        if key is None:
            return record.key
        arrival = ("accounts/arrive", (key,), (moves + 1, disabled, created_ms, user, phc, key_id))
        _, durable = await self._store.run_durably(*arrival)
        await self._remove(record.key, moves, phc, _LINGER_MS)
        if not durable:  # a failover between the two may have lost the arrival: then this is the one
            await self._store.run_durably(*arrival)
        return key


def _record(secret: str, key: str, reply: Sequence[Any]) -> AccountRecord:
    disabled, moves, phc, key_id, target = reply
    stored = StoredHash(phc=phc.decode(), key_id=key_id.decode())
    return AccountRecord(
        key=key,
        secret=secret,
        disabled=disabled == 1,
        stored=stored,
        moves=moves,
        target=None if target == b"" else target.decode(),
    )
