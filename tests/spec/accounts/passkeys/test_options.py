"""What a page gives its browser: passkeys that verify their user, and that a login finds without a name."""

from __future__ import annotations

import json

from tests.authenticators import b64
from tollhouse.accounts.passkeys.options import creation_options, request_options
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.accounts.passkeys.relying_party import RelyingParty

PARTY = RelyingParty(id="example.com", name="Acme", origins=("https://example.com",))
PLAIN = Passkey(id="one", public_key=b"k", sign_count=0, name="a", created_ms=0)
REACHED = Passkey(id="two", public_key=b"k", sign_count=0, name="b", created_ms=0, transports=("usb", "nfc"))
DESCRIPTORS = [{"type": "public-key", "id": "one"}, {"type": "public-key", "id": "two", "transports": ["usb", "nfc"]}]


def test_a_new_passkey_is_discoverable_and_verifies_its_user():
    """The names are those of the standard; no attestation is asked for, and devices that have one make no second."""
    options = creation_options(PARTY, b"challenge", user="ada", handle="aGFuZGxl", present=(PLAIN, REACHED))

    assert options.public_key == {
        "rp": {"id": "example.com", "name": "Acme"},
        "user": {"id": "aGFuZGxl", "name": "ada", "displayName": "ada"},
        "challenge": b64(b"challenge"),
        "pubKeyCredParams": [
            {"type": "public-key", "alg": -8},
            {"type": "public-key", "alg": -7},
            {"type": "public-key", "alg": -257},
        ],
        "timeout": 300_000,
        "excludeCredentials": DESCRIPTORS,
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def test_a_login_names_no_passkey():
    """So its options are the same for all, but for the challenge: they show of no name whether it has an account."""
    options = request_options(PARTY, b"challenge")

    assert options.public_key == {
        "challenge": b64(b"challenge"),
        "timeout": 300_000,
        "rpId": "example.com",
        "allowCredentials": [],
        "userVerification": "required",
    }


def test_a_user_who_is_known_is_asked_for_own_passkeys():
    """With the transports by which the browser reaches them."""
    options = request_options(PARTY, b"challenge", allowed=(PLAIN, REACHED))

    assert options.public_key["allowCredentials"] == DESCRIPTORS


def test_options_are_json():
    """Any encoder takes them."""
    assert json.loads(json.dumps(request_options(PARTY, b"x").public_key)) == request_options(PARTY, b"x").public_key
