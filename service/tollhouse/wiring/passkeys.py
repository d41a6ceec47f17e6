"""Passkeys as the settings ask for them, and only with the package that verifies them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tollhouse.accounts.credentials.credentials import CredentialStore
from tollhouse.accounts.passkeys.challenges import Challenges
from tollhouse.accounts.passkeys.relying_party import RP_ID, RelyingParty, local_party, relying_party
from tollhouse.accounts.verbs.passkeys.check import PasskeyCheck
from tollhouse.clock import UnixClock
from tollhouse.errors import ConfigurationError
from tollhouse.extras import pip_line
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import DurableScriptRunner
from tollhouse.settings import Settings

if TYPE_CHECKING:
    from tollhouse.accounts.passkeys.ceremonies import Ceremonies


def passkey_party(settings: Settings) -> RelyingParty | None:
    """Return who asks for passkeys by the settings; None if they are off. Raises ConfigurationError.

    Without TLS, and with the extra installed, they are those of this machine, for a trial.
    """
    chosen = settings.accounts.passkeys
    party = relying_party(chosen)
    if party is None and settings.plain_http and _has_webauthn():
        return local_party(chosen.rp_name, settings.port)
    return party


def open_ceremonies(settings: Settings) -> Ceremonies | None:
    """Return what verifies the answers of passkeys, None if they are off; raises ConfigurationError.

    The package `webauthn` is imported here, at the start, and not in the first login.
    """
    party = passkey_party(settings)
    if party is None:
        return None
    if not _has_webauthn():
        remedy = f"passkeys take another package: {pip_line('tollhouse[webauthn]')}"
        raise ConfigurationError(RP_ID, party.id, remedy)
    from tollhouse.accounts.passkeys.ceremonies import Ceremonies

    return Ceremonies(party)


def open_passkeys(
    ceremonies: Ceremonies | None,
    credentials: CredentialStore,
    store: DurableScriptRunner,
    keyring: Keyring,
    namespace: Namespace,
    metrics: Metrics,
    clock: UnixClock,
) -> PasskeyCheck | None:
    """Return what asks for passkeys and verifies their uses; None if they are off."""
    if ceremonies is None:
        return None
    return PasskeyCheck(credentials, ceremonies, Challenges(store, keyring, namespace, clock), metrics, clock)


def _has_webauthn() -> bool:
    return find_spec("webauthn") is not None
