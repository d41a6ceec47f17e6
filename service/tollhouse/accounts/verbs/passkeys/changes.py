"""Changes of a user's passkeys, in a session: as of any factor (see guarded_changes.py)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from tollhouse.accounts.credentials.changes import StoredChange
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.factors.outcomes import FactorRefused, FactorsChanged
from tollhouse.accounts.passkeys.answers import base64url, read_attestation
from tollhouse.accounts.passkeys.options import PasskeyOptions, creation_options
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded, PasskeyRefused
from tollhouse.accounts.passkeys.passkey import PASSKEYS_MAX, Passkey, passkey_of, required_name
from tollhouse.accounts.verbs.guarded_changes import NO_ACCOUNT, GuardedChanges
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.sessions.records import Session
from tollhouse.sessions.tokens import RandomBytes

_HANDLE_BYTES: Final = 32
_FULL: Final = FactorRefused(reason="full")
_LAST: Final = FactorRefused(reason="last")
_MISSING: Final = FactorRefused(reason="missing")
_PRESENT: Final = FactorRefused(reason="present")


class PasskeyChanges:
    """Adds, renames and removes passkeys."""

    def __init__(
        self,
        check: PasskeyCheck,
        store: CredentialStore,
        changes: GuardedChanges,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._check = check
        self._store = store
        self._changes = changes
        self._random_bytes = random_bytes

    async def list(self, user: str) -> tuple[Passkey, ...] | None:
        """Return the passkeys of a user; None if there is no account."""
        found = await self._store.load(user)
        return None if found is None else found.passkeys

    async def options(self, session: Session) -> PasskeyOptions | FactorRefused:
        """Return what makes a passkey on the user's device; an account without a user handle gets one."""
        handle = base64url(self._random_bytes(_HANDLE_BYTES))

        def named(now: Credentials) -> Credentials | PasskeyOptions | FactorRefused:
            if len(now.passkeys) >= PASSKEYS_MAX:
                return _FULL
            return now.changed(handle=handle) if now.handle is None else self._options(session, now)

        decided = await self._changes.decide(session, named)
        return self._options(session, decided.credentials) if isinstance(decided, StoredChange) else decided

    async def register(
        self, session: Session, answer: Mapping[str, object], name: str, *, end_others: bool
    ) -> PasskeyAdded | PasskeyRefused | FactorRefused:
        """Add the passkey that the user's device made for this session."""
        chosen, shown = required_name(name), read_attestation(answer)
        good = self._check.challenges.is_good(shown.challenge, "register", session.sid)
        key = self._check.ceremonies.verify_new(shown) if good else None
        if key is None or not await self._check.challenges.use_up(shown.challenge):
            return PasskeyRefused()
        passkey = Passkey(
            id=key.id,
            public_key=key.public_key,
            sign_count=key.sign_count,
            name=chosen,
            created_ms=self._check.clock(),
            synced=key.synced,
            transports=shown.transports,
        )

        def added(now: Credentials) -> Credentials | FactorRefused:
            if now.handle is None:  # it is another account of this name, which made no such passkey
                return NO_ACCOUNT
            if passkey_of(now.passkeys, passkey.id) is not None:
                return _PRESENT
            full = len(now.passkeys) >= PASSKEYS_MAX
            return _FULL if full else now.changed(passkeys=(*now.passkeys, passkey))

        changed = await self._changes.make(session, added, kind="passkey-added", end_others=end_others)
        return changed if isinstance(changed, FactorRefused) else PasskeyAdded(passkey=passkey, durable=changed.durable)

    async def rename(self, session: Session, passkey_id: str, name: str) -> FactorsChanged | FactorRefused:
        """Store another name for a passkey."""
        chosen = required_name(name)

        def renamed(now: Credentials) -> Credentials | FactorRefused:
            one = passkey_of(now.passkeys, passkey_id)
            if one is None:
                return _MISSING
            return now.changed(passkeys=tuple(replace(it, name=chosen) if it is one else it for it in now.passkeys))

        return await self._changes.make(session, renamed)

    async def remove(self, session: Session, passkey_id: str, *, end_others: bool) -> FactorsChanged | FactorRefused:
        """Remove a passkey, unless nothing else opens the account."""

        def removed(now: Credentials) -> Credentials | FactorRefused:
            left = tuple(one for one in now.passkeys if one.id != passkey_id)
            if len(left) == len(now.passkeys):
                return _MISSING
            return _LAST if not left and now.password is None else now.changed(passkeys=left)

        return await self._changes.make(session, removed, kind="passkey-removed", end_others=end_others)

    def _options(self, session: Session, now: Credentials) -> PasskeyOptions:
        assert now.handle is not None, "who gets options has a user handle"
        challenge = self._check.challenges.make("register", session.sid)
        party = self._check.ceremonies.party
        return creation_options(party, challenge, user=now.user, handle=now.handle, present=now.passkeys)
