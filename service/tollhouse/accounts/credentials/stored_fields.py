"""The fields in which Redis keeps credentials: what scripts and earlier versions read, and the rest as one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.accounts.factors.recovery import RecoveryCode
from tollhouse.accounts.factors.totp import TotpSeed
from tollhouse.accounts.hashing.passwords import StoredHash
from tollhouse.accounts.passkeys.passkey import Passkey


class Rest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What only callers read; an account of an earlier version has none of it."""

    epoch: str = ""
    revoke_due: bool = False
    password_changed_ms: int | None = None
    totp: TotpSeed | None = None
    recovery: tuple[RecoveryCode, ...] = ()
    passkeys: tuple[Passkey, ...] = ()
    handle: str | None = None


def changing_fields(credentials: Credentials, key_id: str) -> tuple[str, str, int, str, bytes]:
    """Return hash, key id, whether it is disabled, revision and rest: what a change of an account writes.

    `key_id` is that of the secret of its key: an account without a hash has it in place of the hash's.
    """
    password = credentials.password
    phc, key_id = ("", key_id) if password is None else (password.phc, password.key_id)
    return phc, key_id, int(credentials.disabled), credentials.revision, msgspec.json.encode(_rest(credentials))


def read_credentials(user: str, fields: Sequence[Any]) -> tuple[Credentials, bool]:
    """Return the credentials in created_ms, disabled, hash, key id, revision and rest, and whether they are readable.

    A rest that cannot be read may have had a second factor: then the account is disabled.
    """
    created_ms, disabled, phc, key_id, revision, encoded = fields
    rest, readable = Rest(), True
    try:
        rest = _decoder.decode(encoded) if encoded else rest
    except msgspec.DecodeError:
        readable = False
    credentials = Credentials(
        user=user,
        password=StoredHash(phc=phc.decode(), key_id=key_id.decode()) if phc else None,
        created_ms=created_ms,
        revision=revision.decode(),
        disabled=disabled == 1 or not readable,
        **{name: getattr(rest, name) for name in Rest.__struct_fields__},
    )
    return credentials, readable


def _rest(credentials: Credentials) -> Rest:
    return Rest(**{name: getattr(credentials, name) for name in Rest.__struct_fields__})


_decoder: Final = msgspec.json.Decoder(Rest)
