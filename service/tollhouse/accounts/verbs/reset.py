"""Forgotten passwords: a token that the application mails to the user, and the new password that it allows.

Nothing is stored for a token: it is a MAC of the name, the epoch of its credentials and its end, under a key of the
deployment. So it is good once, because the new password has another epoch, and it does not survive any other change
that ends sessions. It begins no session and removes no factor: who has the mail has no second factor (ASVS 6.4.3).
"""

from __future__ import annotations

import hmac
from typing import Final

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore, new_revision
from tollhouse.accounts.names import canonical
from tollhouse.accounts.outcomes import PasswordChanged, ResetRefused, ResetToken
from tollhouse.accounts.rules import PasswordRules
from tollhouse.accounts.throttling.throttle import Throttle
from tollhouse.accounts.verbs.new_password import NewPassword
from tollhouse.clock import UnixClock
from tollhouse.errors import require_type
from tollhouse.keyring import Keyring

RESET_MS: Final = 1_800_000
"""How long a token is good."""

_LABEL: Final = "password-reset"
_VERSION: Final = "r1"
_PARTS: Final = 4
_CHARACTERS_MAX: Final = 120


class PasswordReset:
    """Makes tokens for users who forgot their password, and takes new passwords for them."""

    def __init__(
        self,
        store: CredentialStore,
        keyring: Keyring,
        rules: PasswordRules,
        new_password: NewPassword,
        throttle: Throttle,
        wall_ms: UnixClock,
        reset_ms: int = RESET_MS,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._rules = rules
        self._new_password = new_password
        self._throttle = throttle
        self._wall_ms = wall_ms
        self._reset_ms = reset_ms

    async def issue(self, user: str) -> ResetToken:
        """Return a token for a name; also for one without an account, whose token opens nothing."""
        name = canonical(user)
        found = await self._store.load(name)
        key_id, expires_at = self._keyring.key_ids()[0], self._wall_ms() + self._reset_ms
        epoch = new_revision() if found is None else _epoch(found)
        mac = self._mac(key_id, name, epoch, expires_at)
        return ResetToken(token=f"{_VERSION}.{key_id}.{expires_at}.{mac}", expires_at=expires_at)

    async def reset_password(self, user: str, token: str, password: str) -> PasswordChanged | ResetRefused:
        """Set a new password for an account, if the token is one of its name, and end all its sessions."""
        name = canonical(user)
        found = await self._store.load(name)
        if found is None or found.disabled or not self._is_good(token, found):
            return ResetRefused()
        changed = await self._new_password.replace_password(found, self._rules.check(password, name))
        if changed is None:
            return ResetRefused()
        await self._throttle.restore(name)
        return changed

    def _is_good(self, token: str, found: Credentials) -> bool:
        require_type("token", token, str, "give the token as it was mailed")
        parts = token.split(".") if len(token) <= _CHARACTERS_MAX and token.isascii() else []
        if len(parts) != _PARTS or parts[0] != _VERSION or parts[1] not in self._keyring.key_ids():
            return False
        _, key_id, until, mac = parts
        if not until.isdecimal() or int(until) <= self._wall_ms():
            return False
        return hmac.compare_digest(mac, self._mac(key_id, found.user, _epoch(found), int(until)))

    def _mac(self, key_id: str, name: str, epoch: str, expires_at: int) -> str:
        key = self._keyring.key(_LABEL, key_id)
        assert key is not None, "a key id is checked before it is used"
        return hmac.digest(key, f"{expires_at}\n{epoch}\n{name}".encode(), "sha256").hex()


def _epoch(credentials: Credentials) -> str:
    """Return what a token is bound to; an account of an earlier version has no epoch, and is bound to its hash."""
    return credentials.epoch or ("" if credentials.password is None else credentials.password.phc)
