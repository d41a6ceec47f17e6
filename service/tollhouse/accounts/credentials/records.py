"""Account records: one account for each name, whichever of the secrets its key was derived from.

The key of an account is derived from a secret. After a rotation it is looked for under every secret that is
configured, and moves to the key of the newest one when its user logs in or the account is changed. The two keys may lie
on different shards, so a move is three calls:

1. `depart` marks the record with its target and returns it. A marked record does not change any more.
2. `arrive` stores what was returned under the other key, with one move more, unless a record of as many moves is there.
3. `remove` removes the marked record, a minute later: a login that read the other key too early finds it still.

Of all records of a name the one with the most moves is the account. So after every step, and after any number of
processes have taken it, one record counts, and it has all that was ever written: before 2 it is the marked one, which
opens the account as before and which any login moves on, from 2 on the other one. What comes late changes nothing: a
mark that is there already, an arrival of fewer moves, a change of a marked record.

What deletes an account leaves its mark, with its moves, under every key for a day. So an arrival that comes late finds
no empty key, and the name is no account and not free so long. The mark of an account that never moved, when there is
one secret, gives way to a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.credentials.stored_fields import read_credentials
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner

_ACCOUNT_LABEL: Final = "account"
_LINGER_MS: Final = 60_000
"""How long a record that has moved on stays: longer than any login takes from one key to the next."""

_NOBODY: Final = (
    *(0, 1_767_225_600_000, 0, 0, b"nobody"),
    b"$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    *(b"00000000", b"0000000000000000", b'{"epoch":"0000000000000000"}', b""),
)
"""What is decoded if there is no record: one as of an account that has just signed up."""
_HASH: Final = 3
"""The place of the hash in what `depart` returns behind the moves; key id and revision follow it."""


class AccountRecord(Struct, frozen=True, kw_only=True):
    """A record of an account; `secret` is the key id of the secret of its key, `target` that of the key it moves to.

    Moves are -1 while a sign-up is pending. What is `gone` is the mark of a deleted account.
    """

    key: str
    secret: str
    moves: int
    gone: bool
    target: str | None
    credentials: Credentials

    @property
    def rank(self) -> tuple[int, bool]:
        """What decides between the records of a name: the highest is the account."""
        return self.moves, self.gone


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
    def account(self) -> AccountRecord | None:
        """The account, or None."""
        first = max(self.records, key=lambda record: record.rank, default=None)
        return None if first is None or first.moves < 0 or first.gone else first

    @property
    def credentials(self) -> Credentials | None:
        """The credentials of the account, with the older secret that they need."""
        account = self.account
        if account is None:
            return None
        needed = (*account.credentials.secrets, account.secret)
        older = next((key_id for key_id in needed if key_id != self.newest), None)
        return replace(account.credentials, older_secret=older)


class AccountRecords:
    """Loads and moves accounts."""

    def __init__(self, store: DurableScriptRunner, keyring: Keyring, metrics: Metrics, namespace: Namespace) -> None:
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._namespace = namespace

    def keys(self, user: str) -> Mapping[str, str]:
        """Return the keys that the account of a name may have, by the key ids of their secrets, the newest first."""
        digests = self._keyring.digests(_ACCOUNT_LABEL, user)
        return dict(zip(self._keyring.key_ids(), map(self._namespace.account, digests), strict=True))

    async def load(self, user: str) -> NameRecords:
        """Return what is stored under a name."""
        keys = self.keys(user)
        # Every key is read, whether or not an earlier one exists: timing does not show whether there is an account.
        replies = await asyncio.gather(*map(self.read, keys.values()))
        named = zip(keys.items(), replies, strict=True)
        # In place of one that is missing another is decoded: that takes time, too.
        records = [(self._record(user, secret, key, reply or _NOBODY), reply) for (secret, key), reply in named]
        return NameRecords(user=user, keys=keys, records=[record for record, reply in records if reply])

    async def read(self, key: str) -> list[Any]:
        """Return what is stored under one key, empty if nothing is."""
        return await self._store.run("accounts/load", (key,), ())

    async def settle(self, found: NameRecords) -> AccountRecord:
        """Move the account to the key of the newest secret, or finish its move; return it, with the key it has then."""
        account = moved = found.account
        assert moved is not None, "only an account is settled"
        for record in found.records:
            if record is account and (record.target is not None or record.secret != found.newest):
                moved = replace(moved, key=await self._move(record, found))
            elif record.target is not None:
                await self.remove(record.key, record.moves, record.credentials.revision)
        return moved

    async def remove(self, key: str, moves: int, revision: str | bytes, linger_ms: int = _LINGER_MS) -> None:
        """Remove a record that is pending, or whose account has moved on."""
        await self._store.run("accounts/remove", (key,), (moves, revision, linger_ms))

    async def _move(self, record: AccountRecord, found: NameRecords) -> str:
        """Move an account to its target, or to the key of the newest secret; return the key that it has then.

        A target whose secret is gone is replaced: no process is left that could move the account there.
        """
        former = record.target or ""
        target = former if former in found.keys else found.newest
        reply, _ = await self._store.run_durably("accounts/depart", (record.key,), (target, former))
        if not reply:  # another login has moved it on
            return found.keys[target]
        moves, *fields, departed = reply
        key = found.keys.get(departed.decode())
        if key is None:
            return record.key
        if not fields[_HASH]:
            fields[_HASH + 1] = departed
        arrival = ("accounts/arrive", (key,), (moves + 1, *fields))
        _, durable = await self._store.run_durably(*arrival)
        await self.remove(record.key, moves, fields[_HASH + 2])
        if not durable:  # a failover between the two may have lost the arrival: then this is the one
            await self._store.run_durably(*arrival)
        return key

    def _record(self, user: str, secret: str, key: str, reply: Sequence[Any]) -> AccountRecord:
        moves, created_ms, disabled, gone, _, *fields, target = reply
        credentials, readable = read_credentials(user, (created_ms, disabled, *fields))
        if not readable:
            self._metrics.discarded_state("credentials")
        return AccountRecord(
            key=key,
            secret=secret,
            moves=moves,
            gone=gone == 1,
            target=None if target == b"" else target.decode(),
            credentials=credentials,
        )
