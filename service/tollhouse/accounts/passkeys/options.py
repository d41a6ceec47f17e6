"""What a page gives `navigator.credentials`, in the JSON form that `PublicKeyCredential.parse…OptionsFromJSON` reads.

A passkey has to verify its user, by a fingerprint or a code of the device: so it is two factors at once. It is
discoverable: a login names no account, and its options are the same for every visitor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from tollhouse.accounts.passkeys.answers import base64url
from tollhouse.accounts.passkeys.challenges import LIFE_MS
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.accounts.passkeys.relying_party import RelyingParty

ALGORITHMS: Final = (-8, -7, -257)
"""EdDSA, ES256 and RS256, of which an authenticator has at least one (COSE algorithm identifiers)."""

_KIND: Final = "public-key"


class PasskeyOptions(Struct, frozen=True, kw_only=True):
    """What a page gives `PublicKeyCredential.parseCreationOptionsFromJSON`, or `parseRequestOptionsFromJSON`: JSON."""

    public_key: Mapping[str, Any]


def creation_options(
    party: RelyingParty, challenge: bytes, *, user: str, handle: str, present: Iterable[Passkey]
) -> PasskeyOptions:
    """Return what makes a passkey for a user, on a device that has none of those that are `present`."""
    selection = {"residentKey": "required", "requireResidentKey": True, "userVerification": "required"}
    return PasskeyOptions(
        public_key={
            "rp": {"id": party.id, "name": party.name},
            "user": {"id": handle, "name": user, "displayName": user},
            "challenge": base64url(challenge),
            "pubKeyCredParams": [{"type": _KIND, "alg": algorithm} for algorithm in ALGORITHMS],
            "timeout": LIFE_MS,
            "excludeCredentials": _descriptors(present),
            "authenticatorSelection": selection,
            "attestation": "none",
        }
    )


def request_options(party: RelyingParty, challenge: bytes, *, allowed: Iterable[Passkey] = ()) -> PasskeyOptions:
    """Return what asks for a passkey: one of those `allowed`, or without any for one of any account."""
    return PasskeyOptions(
        public_key={
            "challenge": base64url(challenge),
            "timeout": LIFE_MS,
            "rpId": party.id,
            "allowCredentials": _descriptors(allowed),
            "userVerification": "required",
        }
    )


def _descriptors(passkeys: Iterable[Passkey]) -> list[dict[str, object]]:
    return [
        {"type": _KIND, "id": one.id, **({"transports": list(one.transports)} if one.transports else {})}
        for one in passkeys
    ]
