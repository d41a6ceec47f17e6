"""A passkey as it is stored with the credentials of its user: a public key, and nothing secret."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import InvalidInput, require_type

PASSKEYS_MAX: Final = 20
"""So many passkeys an account may have: with them its record stays below 64 KiB."""
ID_BYTES_MAX: Final = 1_023
"""The longest id of a credential (Web Authentication, 4)."""
KEY_BYTES_MAX: Final = 600
"""The longest public key: of RSA with 4,096 bits it has about 540 bytes."""
NAME_MAX: Final = 64
TRANSPORTS_MAX: Final = 8
TRANSPORT_MAX: Final = 32


class Passkey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passkey: its `id` in base64url, its public key in COSE form, and the name that its user gave it.

    `sign_count` counts its uses, 0 if the authenticator does not count. It is `synced` if it was backed up when it was
    last used, so that other devices of the user have it, too. `transports` are how a browser reaches it. Times are in
    ms since 1970.
    """

    id: str
    public_key: bytes
    sign_count: int
    name: str
    created_ms: int
    last_used_ms: int | None = None
    synced: bool = False
    transports: tuple[str, ...] = ()

    def used(self, *, sign_count: int, synced: bool, now_ms: int) -> Passkey:
        """Return the passkey after a use that was verified."""
        return replace(self, sign_count=sign_count, synced=synced, last_used_ms=now_ms)

    @property
    def method(self) -> str:
        """The method of an authentication by it (RFC 8176): a key in hardware, or one that a service synchronises."""
        return "swk" if self.synced else "hwk"


def passkey_of(passkeys: Iterable[Passkey], passkey_id: str) -> Passkey | None:
    """Return the passkey of an id, or None."""
    return next((one for one in passkeys if one.id == passkey_id), None)


def required_name(name: str) -> str:
    """Return a name in NFC, trimmed; raises InvalidInput for one that is empty, too long, or cannot be printed."""
    require_type("name", name, str, "give a name for the passkey as text, such as 'my phone'")
    text = unicodedata.normalize("NFC", name[: 2 * NAME_MAX]).strip()
    if not 1 <= len(text) <= NAME_MAX or len(name) > 2 * NAME_MAX or not text.isprintable():
        raise InvalidInput("name", name[: 2 * NAME_MAX], f"give 1 to {NAME_MAX} characters that can be printed")
    return text
