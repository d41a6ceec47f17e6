"""Codes of users: whether one is right now, and that it is right once, of however many requests have it."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from tollhouse.accounts.credentials.changes import StoredChange, change
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.recovery import codes_left, required_recovery_code
from tollhouse.accounts.factors.totp import TotpSeed, required_code, seed_bytes, step_of
from tollhouse.clock import UnixClock
from tollhouse.keyring import Keyring

CodeFactor = Literal["totp", "recovery"]


class Codes:
    """Spends the codes of accounts, by the clock of this process; `window` is that of one-time passwords, in steps."""

    def __init__(self, store: CredentialStore, keyring: Keyring, clock: UnixClock, *, window: int = 0) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._window = window

    def required(self, factor: CodeFactor, text: str) -> str:
        """Return the code in a text; raises InvalidInput for what no code of this factor can be."""
        return required_code(text) if factor == "totp" else required_recovery_code(text)

    async def spend(self, found: Credentials, factor: CodeFactor, code: str) -> StoredChange | None:
        """Spend a code; return the account then, or None for a wrong or used code. Raises Overloaded and StoreError.

        None also if the account has meanwhile changed so that what was verified before does not open it any more.
        """

        def spent(now: Credentials) -> Credentials | None:
            if now.disabled or now.epoch != found.epoch:
                return None
            return self._without_step(now, code) if factor == "totp" else self._without_code(now, code)

        return await change(self._store, found, spent)

    def confirmed(self, user: str, seed: TotpSeed, code: str) -> TotpSeed | None:
        """Return a seed after the use of a code of it, which confirms it; None for a wrong or used code."""
        secret = seed_bytes(self._keyring, user, seed)
        if secret is None:
            return None
        step = step_of(secret, code, now_ms=self._clock(), window=self._window, last_step=seed.last_step)
        return None if step is None else replace(seed, last_step=step, confirmed=True)

    def _without_step(self, now: Credentials, code: str) -> Credentials | None:
        seed = now.totp
        used = None if seed is None or not seed.confirmed else self.confirmed(now.user, seed, code)
        return None if used is None else now.changed(totp=used)

    def _without_code(self, now: Credentials, code: str) -> Credentials | None:
        left = codes_left(self._keyring, now.user, now.recovery, code)
        return None if left is None else now.changed(recovery=left)
