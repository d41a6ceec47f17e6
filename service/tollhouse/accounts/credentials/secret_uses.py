"""Which secrets the accounts of a store need: how an operator knows that an older one can be removed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from tollhouse.accounts.credentials.stored_fields import read_credentials
from tollhouse.keys import Namespace
from tollhouse.scripts import Argument

_STEP: Final = 500
"""So many keys are looked at in one step of the scan, and so many accounts loaded at once."""


class ScannedStore(Protocol):
    """The methods of a store that are used here."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and return its reply; raises StoreError."""
        ...

    async def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[str]]:
        """Return the next cursor and some key names that match; the scan ends when the cursor is 0 again."""
        ...


async def count_secret_uses(store: ScannedStore, namespace: Namespace) -> Mapping[str, int]:
    """Return how many accounts need each secret, by its key id: something in their credentials was derived from it.

    A hash moves to the newest secret when its user logs in, and not before the key of the account has. The scan looks
    at every key of the database, in small steps. While the server resizes its table an account may count twice; an
    account that moves meanwhile counts under one secret or under both.
    """
    uses: Counter[str] = Counter()
    cursor = -1
    while cursor != 0:
        cursor, keys = await store.scan(max(cursor, 0), namespace.accounts, _STEP)
        replies = await asyncio.gather(*(store.run("accounts/load", (key,), ()) for key in keys))
        uses.update(key_id for reply in replies if reply for key_id in _needed(reply))
    return dict(uses)


def _needed(reply: Sequence[Any]) -> Collection[str]:
    """Return the key ids of the secrets that an account needs; what is pending or gone needs none."""
    moves, created_ms, disabled, gone, _, *fields, _ = reply
    if moves < 0 or gone:
        return ()
    credentials, _ = read_credentials("", (created_ms, disabled, *fields))
    return {fields[1].decode(), *credentials.secrets}
