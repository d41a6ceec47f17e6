"""An authenticator in software: it makes passkeys and signs with them, as a device behind a browser does.

Its answers are those of `PublicKeyCredential.toJSON()`. Each thing that a relying party verifies can be made wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

ORIGIN = "https://login.example.com"
RP_ID = "example.com"
ES256, EDDSA, RS256 = -7, -8, -257
PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key:
    """The two halves of a passkey, its id, and the account that it is for."""

    def __init__(self, algorithm=ES256, *, handle="", id_bytes=32):
        self.algorithm = algorithm
        self.handle = handle
        self.raw_id = secrets.token_bytes(id_bytes)
        self.count = 0
        self.private = {
            ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
            EDDSA: ed25519.Ed25519PrivateKey.generate,
            RS256: lambda: rsa.generate_private_key(65_537, 2_048),
        }[algorithm]()

    @property
    def id(self):
        return b64(self.raw_id)

    def cose(self):
        """Return the public half as a COSE key."""
        public = self.private.public_key()
        if self.algorithm == ES256:
            numbers = public.public_numbers()
            key = {1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        elif self.algorithm == EDDSA:
            key = {1: 1, 3: EDDSA, -1: 6, -2: public.public_bytes_raw()}
        else:
            numbers = public.public_numbers()
            key = {1: 3, 3: RS256, -1: numbers.n.to_bytes(256), -2: numbers.e.to_bytes(3)}
        return cbor2.dumps(key)

    def sign(self, data):
        if self.algorithm == ES256:
            return self.private.sign(data, ec.ECDSA(hashes.SHA256()))
        if self.algorithm == EDDSA:
            return self.private.sign(data)
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())


class Authenticator:
    """A device with passkeys; `counts` is whether it counts their uses, and `synced` whether it backs them up."""

    def __init__(self, algorithm=ES256, *, origin=ORIGIN, counts=True, synced=False):
        self.algorithm = algorithm
        self.origin = origin
        self.counts = counts
        self.synced = synced
        self.keys = []

    def create(self, options, *, id_bytes=32, **wrong):
        """Make a passkey by the options of a registration, and return the answer of the browser."""
        key = Key(self.algorithm, handle=options["user"]["id"], id_bytes=id_bytes)
        self.keys.append(key)
        return self.attestation(key, options, **wrong)

    def attestation(self, key, options, *, fmt="none", statement=None, key_bytes=None, **wrong):
        """Return the answer of the browser to the options of a registration, for a key that there is."""
        wrong = {"flags": ATTESTED | self._flags(), "rp_id": options["rp"]["id"], **wrong}
        client_data = self._client_data("webauthn.create", options, **wrong)
        public = key.cose() if key_bytes is None else key_bytes
        attested = bytes(16) + len(key.raw_id).to_bytes(2) + key.raw_id + public
        data = self._authenticator_data(key, **wrong) + attested
        if statement == "self":
            statement = {"alg": key.algorithm, "sig": key.sign(data + hashlib.sha256(client_data).digest())}
        attestation = {"fmt": fmt, "attStmt": statement or {}, "authData": data}
        return {
            "id": key.id,
            "rawId": key.id,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64(client_data),
                "attestationObject": b64(cbor2.dumps(attestation)),
                "transports": ["internal", "hybrid"],
                "publicKeyAlgorithm": key.algorithm,
            },
        }

    def get(self, options, key=None, *, count=None, handle=None, **wrong):
        """Sign with a passkey by the options of a request, by default with the newest; return the browser's answer."""
        key = self.keys[-1] if key is None else key
        key.count = key.count + 1 if count is None else count
        wrong = {"flags": self._flags(), "rp_id": options["rpId"], **wrong}
        client_data = self._client_data("webauthn.get", options, **wrong)
        data = self._authenticator_data(key, **wrong)
        signature = key.sign(data + hashlib.sha256(client_data).digest())
        return {
            "id": key.id,
            "rawId": key.id,
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64(client_data),
                "authenticatorData": b64(data),
                "signature": b64(signature),
                "userHandle": key.handle if handle is None else handle,
            },
        }

    def _flags(self):
        return PRESENT | VERIFIED | (ELIGIBLE | BACKED_UP if self.synced else 0)

    def _client_data(self, kind, options, *, ceremony=None, origin=None, challenge=None, cross_origin=False, **_):
        data = {
            "type": ceremony or kind,
            "challenge": challenge or options["challenge"],
            "origin": origin or self.origin,
            "crossOrigin": cross_origin,
        }
        return json.dumps(data).encode()

    def _authenticator_data(self, key, *, flags, rp_id, **_):
        count = key.count if self.counts else 0
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + count.to_bytes(4)
