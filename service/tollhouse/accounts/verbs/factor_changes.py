"""Changes of a user's second factors, in a session whose user was authenticated lately: callers see to that.

It must have been by the factors that the account has. So the first one can be added after a password, whatever level
other routes ask for, and none can be removed without it. Each change is one of the credentials, and an event of which
an application tells the user. With `end_others` it ends the user's other sessions, and every login that is not done yet
(ASVS 5.0, 7.4.3).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from tollhouse.accounts.credentials.changes import StoredChange, change
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
from tollhouse.accounts.verbs.login_sessions import LoginSessions
from tollhouse.clock import UnixClock
from tollhouse.keyring import Keyring
from tollhouse.sessions.events.notes import AccountChange, AccountEvents
from tollhouse.sessions.levels import satisfies
from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import RandomBytes

_NO_ACCOUNT: Final = FactorRefused(reason="no-account")
_PRESENT: Final = FactorRefused(reason="present")
_MISSING: Final = FactorRefused(reason="missing")
_WRONG_CODE: Final = FactorRefused(reason="wrong-code")


class FactorChanges:
    """Adds and removes factors."""

    def __init__(
        self,
        store: CredentialStore,
        logins: LoginSessions,
        codes: Codes,
        events: AccountEvents,
        keyring: Keyring,
        *,
        rules: FactorRules,
        clock: UnixClock,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._logins = logins
        self._codes = codes
        self._events = events
        self._keyring = keyring
        self._levels = rules.levels
        self._issuer = rules.issuer
        self._clock = clock
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
            highest_level=highest_level(found, self._levels),
        )

    async def begin_totp(self, session: Session) -> TotpEnrolment | FactorRefused:
        """Make a new seed, which counts for nothing until a code confirms it; one that was not confirmed is void."""
        seed = new_seed(self._keyring, self._random_bytes)
        secret = seed_bytes(self._keyring, session.user, seed)
        assert secret is not None, "a new seed derives from a secret that is configured"
        made = await self._change(
            session, lambda now: _PRESENT if takes_second_step(now) else now.changed(totp=seed), end_others=False
        )
        if isinstance(made, FactorRefused):
            return made
        uri = otpauth_uri(secret, issuer=self._issuer, user=session.user)
        return TotpEnrolment(secret=base32(secret), uri=uri, durable=made.durable)

    async def confirm_totp(
        self, session: Session, code: str, *, end_others: bool = False
    ) -> FactorsChanged | FactorRefused:
        """Make the new seed count if the user's app shows its codes; raises InvalidInput for what no code can be."""
        digits = required_code(code)

        def confirmed(now: Credentials) -> Credentials | FactorRefused:
            if now.totp is None:
                return _MISSING
            if now.totp.confirmed:
                return _PRESENT
            seed = self._codes.confirmed(now.user, now.totp, digits)
            return _WRONG_CODE if seed is None else now.changed(totp=seed)

        return await self._noted("totp-added", session, confirmed, end_others=end_others)

    async def remove_totp(self, session: Session, *, end_others: bool = False) -> FactorsChanged | FactorRefused:
        """Remove one-time passwords, and the recovery codes with them: a login takes one step again."""

        def removed(now: Credentials) -> Credentials | FactorRefused:
            return _MISSING if now.totp is None else now.changed(totp=None, recovery=())

        return await self._noted("totp-removed", session, removed, end_others=end_others)

    async def new_recovery_codes(
        self, session: Session, *, end_others: bool = False
    ) -> RecoveryCodesMade | FactorRefused:
        """Make ten recovery codes in place of the former ones; they are shown this once."""
        codes, stored = new_codes(self._keyring, session.user, self._random_bytes)

        def made(now: Credentials) -> Credentials | FactorRefused:
            return now.changed(recovery=stored) if takes_second_step(now) else _MISSING

        changed = await self._noted("recovery-codes-made", session, made, end_others=end_others)
        return (
            changed if isinstance(changed, FactorRefused) else RecoveryCodesMade(codes=codes, durable=changed.durable)
        )

    async def _noted(
        self,
        kind: AccountChange,
        session: Session,
        decide: Callable[[Credentials], Credentials | FactorRefused],
        *,
        end_others: bool,
    ) -> FactorsChanged | FactorRefused:
        changed = await self._change(session, decide, end_others=end_others)
        if not isinstance(changed, FactorRefused):
            await self._events.write(kind, session.user, session.sid)
        return changed

    async def _change(
        self,
        session: Session,
        decide: Callable[[Credentials], Credentials | FactorRefused],
        *,
        end_others: bool,
    ) -> FactorsChanged | FactorRefused:
        def decided(now: Credentials) -> Credentials | FactorRefused:
            refusal = self._refusal(session, now)
            after = decide(now) if refusal is None else refusal
            return after.changed_over() if end_others and isinstance(after, Credentials) else after

        changed = await change(self._store, await self._store.load(session.user), decided)
        if not isinstance(changed, StoredChange):
            return _NO_ACCOUNT if changed is None else changed
        if not end_others:
            return FactorsChanged(durable=changed.durable)
        ended = await self._logins.finish(changed.credentials, keep=session)
        return FactorsChanged(durable=changed.durable and ended.durable)

    def _refusal(self, session: Session, now: Credentials) -> FactorRefused | None:
        """Return why a session may change nothing of an account, or None."""
        if now.disabled:
            return _NO_ACCOUNT
        level = highest_level(now, self._levels)
        if level == self._levels[0]:
            return None
        reached = satisfies(session, acr=level, levels=self._levels, now_ms=self._clock())
        return None if reached else FactorRefused(reason="level", level=level)
