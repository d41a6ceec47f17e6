"""Credentials: how a user proves who they are, as one value, and the store that keeps one record of it for each user.

All changes of an account are changes of this record, by compare-and-set: what was verified is still so when the change
is written, or the change fails. So a code opens once, and nothing is lost between two changes.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, Protocol, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tollhouse.accounts.factors.recovery import RecoveryCode
from tollhouse.accounts.factors.totp import TotpSeed
from tollhouse.accounts.hashing.passwords import StoredHash
from tollhouse.accounts.passkeys.passkey import Passkey


class Credentials(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The credentials of one account.

    `user` is the canonical spelling of its name. Without a password none opens it; while it is `disabled` nothing
    does. Every change has another `revision`. One that is to end the sessions of before has another `epoch`, too, so
    that a login of before, which is not done yet, fails; `revoke_due` means that they may not be over yet. Only the
    store sets `older_secret`: the key id of a secret of the deployment, before the newest, that the record needs.
    `handle` is the user handle of WebAuthn: 32 random bytes as base64url without padding. Only an account that ever had
    a passkey has one, and keeps it as long as it lives.
    """

    user: str
    password: StoredHash | None
    created_ms: int
    revision: str
    epoch: str = ""
    disabled: bool = False
    revoke_due: bool = False
    password_changed_ms: int | None = None
    totp: TotpSeed | None = None
    recovery: tuple[RecoveryCode, ...] = ()
    passkeys: tuple[Passkey, ...] = ()
    handle: str | None = None
    older_secret: str | None = None

    def changed(self, **changes: Any) -> Self:
        """Return a copy with other fields and another revision, to `replace` this with."""
        assert self.handle in (None, changes.get("handle", self.handle)), "an account keeps its user handle"
        return replace(self, **{**changes, "revision": new_revision()})

    def changed_over(self, **changes: Any) -> Self:
        """Return a copy as `changed` does, after which no session of before is to live on."""
        return self.changed(**{"epoch": new_revision(), "revoke_due": True, **changes})

    @property
    def secrets(self) -> tuple[str, ...]:
        """The key ids of the secrets of the deployment that something in it was derived from."""
        derived = (self.password, self.totp, *self.recovery)
        return tuple(dict.fromkeys(one.key_id for one in derived if one is not None))

    def is_same(self, other: Credentials) -> bool:
        """Return whether nothing was changed between the two."""
        return (self.revision, self.password) == (other.revision, other.password)

    def encoded(self) -> bytes:
        """Return all of it as JSON, for a store that keeps it as one value."""
        return msgspec.json.encode(replace(self, older_secret=None))


class WriteResult(Struct, frozen=True, kw_only=True):
    """The change is stored, and survives a failover if it is `durable`."""

    durable: bool


class CredentialStore(Protocol):
    """Keeps the credentials of accounts; each method raises StoreUnavailable if it cannot tell.

    An application may bring its own. Names are canonical: a store compares them byte by byte. `replace` and `delete`
    compare `before` with what is stored, by `is_same`, and write in one step: no other write comes between.
    """

    async def load(self, user: str) -> Credentials | None:
        """Return the credentials of a name, or None if there is no account; it takes as long for both."""
        ...

    async def create(self, credentials: Credentials) -> WriteResult | None:
        """Store a new account; return None, and write nothing, if the name is taken."""
        ...

    async def replace(self, before: Credentials, after: Credentials) -> WriteResult | None:
        """Store `after` in place of `before`; return None, and write nothing, if it has changed or is gone.

        `after` has come from `before.changed()`. If it is stored already, as by a call whose reply was lost, that is
        no change by another.
        """
        ...

    async def delete(self, before: Credentials) -> WriteResult | None:
        """Delete the account; return None, and delete nothing, if it has changed or is gone."""
        ...

    async def find(self, handle: str) -> str | None:
        """Return the name of the account with this user handle, or None.

        It may be that of an account that is gone, or never got the handle: the caller loads it and compares.
        """
        ...


def new_credentials(user: str, password: StoredHash, now_ms: int) -> Credentials:
    """Return the credentials of an account that begins now."""
    return Credentials(user=user, password=password, created_ms=now_ms, revision=new_revision(), epoch=new_revision())


def new_revision() -> str:
    """Return the name of one change: random, so that no other has it."""
    return secrets.token_hex(8)


def decode_credentials(encoded: bytes) -> Credentials:
    """Return what `encoded` made; raises msgspec.DecodeError for anything else."""
    return _decoder.decode(encoded)


_decoder: Final = msgspec.json.Decoder(Credentials)
