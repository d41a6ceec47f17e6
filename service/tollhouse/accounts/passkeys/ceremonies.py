"""Ceremonies: whether the answer of a browser is that of a passkey, to a page of ours (WebAuthn, 7.1 and 7.2).

The package `webauthn` does the cryptography, behind the types of this folder. What it verifies is what the browser and
the authenticator have signed: the kind of the ceremony, the challenge, the origin, the domain, that the user was there
and was verified, and the signature. An attestation is neither asked for nor judged, and certificates are not read.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as UnsupportedKey
from msgspec import Struct
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    RegistrationCredential,
)

from tollhouse.accounts.passkeys.answers import Assertion, Attestation, ClientDataJson, base64url
from tollhouse.accounts.passkeys.options import ALGORITHMS
from tollhouse.accounts.passkeys.passkey import KEY_BYTES_MAX, Passkey
from tollhouse.accounts.passkeys.relying_party import RelyingParty
from tollhouse.logs import Log

_WRONG: Final = (
    WebAuthnException,
    InvalidSignature,
    UnsupportedKey,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What the package raises for an answer that is wrong, or that no authenticator makes."""
_ALGORITHMS: Final = [COSEAlgorithmIdentifier(one) for one in ALGORITHMS]
_UNJUDGED: Final = (AttestationFormat.NONE, AttestationFormat.PACKED)
"""The formats without certificates: none, and a signature by the new key itself."""

_SHOWN_MAX: Final = 200
"""So many characters of an origin are logged: a client sent it."""

_log: Final = Log("tollhouse.accounts")


class VerifiedKey(Struct, frozen=True, kw_only=True):
    """The key of a new passkey, whose answer was right."""

    id: str
    public_key: bytes
    sign_count: int
    synced: bool


class VerifiedUse(Struct, frozen=True, kw_only=True):
    """The use of a passkey, whose answer was right: its counter, and whether it is backed up now."""

    sign_count: int
    synced: bool


class Ceremonies:
    """Verifies answers for one relying party; what is wrong with one is logged, and told to no client."""

    def __init__(self, party: RelyingParty) -> None:
        self.party = party
        self._origins = list(party.origins)

    def verify_new(self, answer: Attestation) -> VerifiedKey | None:
        """Return the key of a new passkey, None if the answer is wrong."""
        try:
            return self._verified_key(answer)
        except _WRONG as error:
            return self._refused(answer.page, error)

    def verify_use(self, answer: Assertion, passkey: Passkey) -> VerifiedUse | None:
        """Return the use of a passkey, None if the answer is wrong, or if its counter did not grow: it has a copy."""
        try:
            return self._verified_use(answer, passkey)
        except _WRONG as error:
            return self._refused(answer.page, error)

    def _verified_key(self, answer: Attestation) -> VerifiedKey:
        self._require_own_page(answer.page)
        shown = parse_attestation_object(answer.attestation_object)
        if shown.fmt not in _UNJUDGED or shown.att_stmt.x5c is not None:
            raise ValueError("an attestation with certificates, which was not asked for")
        response = AuthenticatorAttestationResponse(
            client_data_json=answer.client_data, attestation_object=answer.attestation_object
        )
        verified = verify_registration_response(
            credential=RegistrationCredential(id=answer.id, raw_id=answer.raw_id, response=response),
            expected_challenge=answer.challenge,
            expected_rp_id=self.party.id,
            expected_origin=self._origins,
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
        if verified.credential_id != answer.raw_id:
            raise ValueError("another id than that of the new key")
        if len(verified.credential_public_key) > KEY_BYTES_MAX:
            raise ValueError("a public key that is too long")
        # A key that cannot be read would only be found out at the first login with it.
        decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
        return VerifiedKey(
            id=base64url(verified.credential_id),
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            synced=verified.credential_backed_up,
        )

    def _verified_use(self, answer: Assertion, passkey: Passkey) -> VerifiedUse:
        self._require_own_page(answer.page)
        response = AuthenticatorAssertionResponse(
            client_data_json=answer.client_data,
            authenticator_data=answer.authenticator_data,
            signature=answer.signature,
        )
        verified = verify_authentication_response(
            credential=AuthenticationCredential(id=answer.id, raw_id=answer.raw_id, response=response),
            expected_challenge=answer.challenge,
            expected_rp_id=self.party.id,
            expected_origin=self._origins,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
        return VerifiedUse(sign_count=verified.new_sign_count, synced=verified.credential_backed_up)

    def _require_own_page(self, page: ClientDataJson) -> None:
        """Raise for a page inside of a page of another site: no user sees whom the passkey is for."""
        if page.cross_origin:
            raise ValueError("a frame in a page of another origin")

    def _refused(self, page: ClientDataJson, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        _log.info("passkey refused", extra={"reason": reason, "origin": page.origin[:_SHOWN_MAX]})
