"""The check of a passkey that the verbs share: challenge, account, signature, and then the use is stored.

The challenge comes first, and takes no call of a store: so what is made up costs none. It is spent once the signature
was right, and before anything opens. Then the counter is stored by compare-and-set, so that of two uses of one count
one is refused. No guess can be made, so none is counted: a signature is right, or worth nothing to know of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from tollhouse.accounts.credentials.changes import change
from tollhouse.accounts.credentials.credentials import Credentials, CredentialStore
from tollhouse.accounts.passkeys.answers import Assertion, read_assertion
from tollhouse.accounts.passkeys.challenges import Challenges, Purpose
from tollhouse.accounts.passkeys.options import PasskeyOptions, request_options
from tollhouse.accounts.passkeys.passkey import Passkey, passkey_of
from tollhouse.clock import UnixClock
from tollhouse.metrics import Metrics

if TYPE_CHECKING:
    from tollhouse.accounts.passkeys.ceremonies import Ceremonies, VerifiedUse


class ProvenPasskey(Struct, frozen=True, kw_only=True):
    """The account as it is after the use of a passkey that was right, and the passkey."""

    credentials: Credentials
    passkey: Passkey


class PasskeyCheck:
    """Asks for passkeys, and verifies their uses."""

    def __init__(
        self,
        store: CredentialStore,
        ceremonies: Ceremonies,
        challenges: Challenges,
        metrics: Metrics,
        clock: UnixClock,
    ) -> None:
        self.ceremonies = ceremonies
        self.challenges = challenges
        self._store = store
        self._metrics = metrics
        self.clock = clock

    def request(self, purpose: Purpose, bound: str = "", *, allowed: Iterable[Passkey] = ()) -> PasskeyOptions:
        """Return options that ask for one of the passkeys allowed, or without any for one of any account."""
        return request_options(self.ceremonies.party, self.challenges.make(purpose, bound), allowed=allowed)

    def read(self, answer: Mapping[str, object], purpose: Purpose, bound: str = "") -> Assertion | None:
        """Return an answer whose challenge is one of ours, else None; raises InvalidInput for what is no answer."""
        shown = read_assertion(answer)
        return shown if self.challenges.is_good(shown.challenge, purpose, bound) else None

    async def prove(self, found: Credentials, shown: Assertion) -> ProvenPasskey | None:
        """Return the account if the answer is right, which spends its challenge; None if it opens nothing."""
        passkey = passkey_of(found.passkeys, shown.id)
        if passkey is None or found.disabled or shown.user_handle not in (None, found.handle):
            return None
        use = self.ceremonies.verify_use(shown, passkey)
        if use is None or not await self.challenges.use_up(shown.challenge):
            return None
        if found.older_secret is not None:
            self._metrics.older_secret_login(found.older_secret)
        return await self._store_use(found, passkey, use)

    async def _store_use(self, found: Credentials, passkey: Passkey, use: VerifiedUse) -> ProvenPasskey | None:
        """Store the counter and the time; None if the account or the passkey has changed since it was verified."""
        used = passkey.used(sign_count=use.sign_count, synced=use.synced, now_ms=self.clock())

        def decide(now: Credentials) -> Credentials | None:
            stored = passkey_of(now.passkeys, passkey.id)
            if stored is None or now.disabled or now.epoch != found.epoch or not _follows(use, stored):
                return None
            return now.changed(passkeys=tuple(used if one is stored else one for one in now.passkeys))

        changed = await change(self._store, found, decide)
        return None if changed is None else ProvenPasskey(credentials=changed.credentials, passkey=used)


def _follows(use: VerifiedUse, stored: Passkey) -> bool:
    """Return whether a use comes after the last one that is stored; an authenticator that never counts says 0."""
    return use.sign_count > stored.sign_count or use.sign_count == stored.sign_count == 0
