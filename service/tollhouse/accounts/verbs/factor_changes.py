"""Changes of a user's second factors, in a session whose user was authenticated lately: callers see to that.

It must have been by the factors that the account has. So the first one can be added after a password, whatever level
other routes ask for, and none can be removed without it. Each change is one of the credentials, and an event of which
an application tells the user. With `end_others` it ends the user's other sessions, and every login that is not done yet
(ASVS 5.0, 7.4.3).
"""

from __future__ import annotations

import secrets
from typing import Final

from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.available import highest_level, takes_second_step
from tollhouse.accounts.factors.codes import Codes
from tollhouse.accounts.factors.outcomes import (
    AccountOverview,
    FactorRefused,
    FactorsChanged,
    RecoveryCodesMade,
    TotpEnrolment,
)
from tollhouse.accounts.factors.recovery import new_codes
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.factors.totp import base32, new_seed, otpauth_uri, required_code, seed_bytes
from tollhouse.accounts.verbs.guarded_changes import GuardedChanges
from tollhouse.keyring import Keyring
from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import RandomBytes

_PRESENT: Final = FactorRefused(reason="present")
_MISSING: Final = FactorRefused(reason="missing")
_WRONG_CODE: Final = FactorRefused(reason="wrong-code")


class FactorChanges:
    """Adds and removes factors."""

    def __init__(
        self,
        store: CredentialStore,
        changes: GuardedChanges,
        codes: Codes,
        keyring: Keyring,
        *,
        rules: FactorRules,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._changes = changes
        self._codes = codes
        self._keyring = keyring
        self._rules = rules
        self._random_bytes = random_bytes

    async def overview(self, user: str) -> AccountOverview | None:
        """Return what the user has; None for a user without an account, whose sessions an application began."""
        found = await self._store.load(user)
        if found is None:
            return None
        return AccountOverview(
            user=found.user,
            created_at=found.created_ms,
            password_changed_at=found.password_changed_ms,
            password=found.password is not None,
            totp=takes_second_step(found),
            recovery_codes_left=len(found.recovery),
            passkeys=len(found.passkeys),
            highest_level=highest_level(found, self._rules.levels, passkeys=self._rules.passkeys),
        )

    async def begin_totp(self, session: Session) -> TotpEnrolment | FactorRefused:
        """Make a new seed, which counts for nothing until a code confirms it; one that was not confirmed is void."""
        seed = new_seed(self._keyring, self._random_bytes)
        secret = seed_bytes(self._keyring, session.user, seed)
        assert secret is not None, "a new seed derives from a secret that is configured"
        made = await self._changes.make(
            session, lambda now: _PRESENT if takes_second_step(now) else now.changed(totp=seed)
        )
        if isinstance(made, FactorRefused):
            return made
        uri = otpauth_uri(secret, issuer=self._rules.issuer, user=session.user)
        return TotpEnrolment(secret=base32(secret), uri=uri, durable=made.durable)

    async def confirm_totp(
        self, session: Session, code: str, *, end_others: bool = False
    ) -> RecoveryCodesMade | FactorRefused:
        """Make the new seed count if the user's app shows its codes; raises InvalidInput for what no code can be.

        The recovery codes come along, for the day on which the app is lost: who has none of either is locked out.
        """
        digits = required_code(code)
        codes, stored = new_codes(self._keyring, session.user, self._random_bytes)

        def confirmed(now: Credentials) -> Credentials | FactorRefused:
            if now.totp is None:
                return _MISSING
            if now.totp.confirmed:
                return _PRESENT
            seed = self._codes.confirmed(now.user, now.totp, digits)
            return _WRONG_CODE if seed is None else now.changed(totp=seed, recovery=stored)

        changed = await self._changes.make(session, confirmed, kind="totp-added", end_others=end_others)
        return _made(codes, changed)

    async def remove_totp(self, session: Session, *, end_others: bool = False) -> FactorsChanged | FactorRefused:
        """Remove one-time passwords, and the recovery codes with them: a login takes one step again."""

        def removed(now: Credentials) -> Credentials | FactorRefused:
            return _MISSING if now.totp is None else now.changed(totp=None, recovery=())

        return await self._changes.make(session, removed, kind="totp-removed", end_others=end_others)

    async def new_recovery_codes(
        self, session: Session, *, end_others: bool = False
    ) -> RecoveryCodesMade | FactorRefused:
        """Make ten recovery codes in place of the former ones; they are shown this once."""
        codes, stored = new_codes(self._keyring, session.user, self._random_bytes)

        def made(now: Credentials) -> Credentials | FactorRefused:
            return now.changed(recovery=stored) if takes_second_step(now) else _MISSING

        changed = await self._changes.make(session, made, kind="recovery-codes-made", end_others=end_others)
        return _made(codes, changed)


def _made(codes: tuple[str, ...], changed: FactorsChanged | FactorRefused) -> RecoveryCodesMade | FactorRefused:
    return changed if isinstance(changed, FactorRefused) else RecoveryCodesMade(codes=codes, durable=changed.durable)
