"""Events about the account of a user, in the stream of its sessions: an application tells the user of them."""

from __future__ import annotations

import secrets
from typing import Final, Literal

from tollhouse.errors import StoreError
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.logs import Log
from tollhouse.scripts import DurableScriptRunner
from tollhouse.sessions import tokens
from tollhouse.sessions.tokens import RandomBytes
from tollhouse.sessions.user_keys import user_keys

AccountChange = Literal[
    "password-changed",
    "account-deleted",
    "totp-added",
    "totp-removed",
    "recovery-codes-made",
    "recovery-code-used",
    "passkey-added",
    "passkey-removed",
]
"""What happened to the account; `KINDS` says what each means."""

_NOTED_MS: Final = 86_400_000
"""How long a repeated call of `note` finds that it was done."""

_log: Final = Log("tollhouse.sessions")


class AccountEvents:
    """Writes events about accounts."""

    def __init__(
        self,
        store: DurableScriptRunner,
        keyring: Keyring,
        namespace: Namespace,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._namespace = namespace
        self._random_bytes = random_bytes

    async def write(self, kind: AccountChange, user: str, sid: str = "") -> bool:
        """Write an event about a change that is done, and return whether it is durable.

        `sid` is the session in which the user made it. If it cannot be written that is logged, and the result is
        False: the change is stored, and who made it is told so.
        """
        own, call = user_keys(self._namespace, self._keyring, user)[0], tokens.new_sid(self._random_bytes)
        args = (user, call, kind, _NOTED_MS, sid)
        try:
            _, durable = await self._store.run_durably("sessions/note", (own.epoch, own.events), args)
        except StoreError as error:
            _log.warning("event lost", extra={"kind": kind, "reason": str(error)})
            return False
        return durable
