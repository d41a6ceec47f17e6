"""Accounts with passkeys on a world, for the specifications of logins by them."""

from __future__ import annotations

from tests.authenticators import ORIGIN, RP_ID, Authenticator
from tests.factors import Factors
from tollhouse.accounts.factors.rules import FactorRules
from tollhouse.accounts.passkeys.ceremonies import Ceremonies
from tollhouse.accounts.passkeys.challenges import Challenges
from tollhouse.accounts.passkeys.options import PasskeyOptions
from tollhouse.accounts.passkeys.outcomes import PasskeyAdded
from tollhouse.accounts.passkeys.relying_party import RelyingParty
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.keys import UNNAMED

PARTY = RelyingParty(id=RP_ID, name="Acme", origins=(ORIGIN,))


class PasskeyUsers(Factors):
    """Accounts of a world whose settings have passkeys, and what users do with their devices."""

    def __init__(self, world, *, rules=FactorRules(passkeys=True), **options):  # noqa: B008 - a frozen value
        super().__init__(world, **options)
        challenges = Challenges(self.stores.accounts, self.keyring, UNNAMED, self.clock)
        self.check = PasskeyCheck(self.credentials, Ceremonies(PARTY), challenges, world.metrics, self.clock)
        self.accounts = self.accounts_with(passkeys=self.check, factor_rules=rules)
        self.passkeys = self.accounts.passkeys
        self.device = Authenticator()

    async def added(self, session, device=None, name="a device", **options):
        """Add a passkey in a session, on the user's device."""
        device = self.device if device is None else device
        asked = await self.passkeys.creation_options(session)
        assert isinstance(asked, PasskeyOptions), asked
        added = await self.passkeys.register(session, device.create(asked.public_key), name, **options)
        assert isinstance(added, PasskeyAdded), added
        return added.passkey

    async def with_passkey(self, user="ada", device=None):
        """Sign up a user and add a passkey; return the session of the password in which that was."""
        await self.sign_up(user)
        session = (await self.login(user)).issued.session
        await self.added(session, device)
        return session

    def shown(self, device=None, **wrong):
        """Return the answer of a device to new options of a login."""
        device = self.device if device is None else device
        return device.get(self.passkeys.login_options().public_key, **wrong)

    async def by_passkey(self, on=None, **options):
        """Log in by the passkey on a device."""
        return await self.passkeys.login(self.shown(on), **options)
