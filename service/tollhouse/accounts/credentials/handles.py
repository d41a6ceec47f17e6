"""User handles: which account a passkey is of, when its user has not said their name.

The index is a hint: it is written before the record that has the handle, and removed after it. So every handle of an
account is found, and what is found of an account that is gone, or never had it, opens nothing: its record, if there is
one, has another handle. The handle is random, so its key needs no secret and stays as it is when secrets rotate.
"""

from __future__ import annotations

import hashlib
from typing import Final

from tollhouse.accounts.credentials.credentials import Credentials
from tollhouse.keys import Namespace
from tollhouse.scripts import DurableScriptRunner

_DIGEST_BYTES: Final = 16


class UserHandles:
    """Finds accounts by their user handles."""

    def __init__(self, store: DurableScriptRunner, namespace: Namespace) -> None:
        self._store = store
        self._namespace = namespace

    async def find(self, handle: str) -> str | None:
        """Return the name of the account that has a handle, or had it; None if none did."""
        reply = await self._store.run("accounts/find_handle", (self._key(handle),), ())
        return reply[0].decode() if reply else None

    async def claim(self, handle: str, after: Credentials) -> bool:
        """Note whose handle it is once `after` is written; return whether that is durable."""
        claimed = ("accounts/claim_handle", (self._key(handle),), (after.revision, after.user))
        _, durable = await self._store.run_durably(*claimed)
        return durable

    async def release(self, handle: str, after: Credentials) -> None:
        """Take back the claim of `after`, which was not written."""
        await self._store.run("accounts/release_handle", (self._key(handle),), (after.revision,))

    async def forget(self, handle: str) -> None:
        """Forget a handle, whose account is deleted."""
        await self._store.run("accounts/forget_handle", (self._key(handle),), ())

    def _key(self, handle: str) -> str:
        digest = hashlib.blake2b(handle.encode(), digest_size=_DIGEST_BYTES).hexdigest()
        return self._namespace.user_handle(digest)
