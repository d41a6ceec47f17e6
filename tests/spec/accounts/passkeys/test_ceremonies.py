"""Ceremonies: of all that an answer says each part has to be right, whatever the authenticator."""

from __future__ import annotations

import json
import logging

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.authenticators import (
    ATTESTED,
    BACKED_UP,
    EDDSA,
    ELIGIBLE,
    ES256,
    PRESENT,
    RS256,
    VERIFIED,
    Authenticator,
    Key,
    b64,
    unb64,
)
from tollhouse.accounts.passkeys.answers import read_assertion, read_attestation
from tollhouse.accounts.passkeys.ceremonies import Ceremonies, VerifiedKey, VerifiedUse
from tollhouse.accounts.passkeys.options import creation_options, request_options
from tollhouse.accounts.passkeys.passkey import Passkey
from tollhouse.accounts.passkeys.relying_party import RelyingParty

ORIGINS = ("https://login.example.com", "https://example.com")
CEREMONIES = Ceremonies(RelyingParty(id="example.com", name="Acme", origins=ORIGINS))
CHALLENGE = bytes(range(38))
CREATION = creation_options(CEREMONIES.party, CHALLENGE, user="ada", handle=b64(bytes(32)), present=()).public_key
REQUEST = request_options(CEREMONIES.party, CHALLENGE).public_key


def new(device, **wrong):
    return CEREMONIES.verify_new(read_attestation(device.create(CREATION, **wrong)))


def passkey_on(device, **fields):
    """Return a passkey of a device as it is stored."""
    key = new(device)
    assert key is not None
    stored = {"public_key": key.public_key, "sign_count": key.sign_count, "synced": key.synced, **fields}
    return Passkey(id=key.id, name="a device", created_ms=0, **stored)


def use(device, passkey, **wrong):
    return CEREMONIES.verify_use(read_assertion(device.get(REQUEST, **wrong)), passkey)


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_passkey_is_made_and_used(algorithm, origin):
    """Each algorithm that is asked for, on each page that may ask."""
    device = Authenticator(algorithm, origin=origin)

    key = new(device)

    assert isinstance(key, VerifiedKey)
    assert (key.id, key.sign_count, key.synced) == (device.keys[0].id, 0, False)
    stored = Passkey(id=key.id, public_key=key.public_key, sign_count=0, name="a", created_ms=0)
    assert use(device, stored) == VerifiedUse(sign_count=1, synced=False)


def test_a_passkey_that_is_kept_in_sync_says_so():
    """Whether it is backed up is that of each use."""
    device = Authenticator(synced=True)
    passkey = passkey_on(device)

    assert passkey.synced
    assert use(device, passkey) == VerifiedUse(sign_count=1, synced=True)
    assert use(device, passkey, flags=PRESENT | VERIFIED | ELIGIBLE) == VerifiedUse(sign_count=2, synced=False)


def test_an_attestation_by_the_key_itself_is_taken():
    """Some authenticators sign what they made, unasked; that proves the key and needs no certificate."""
    assert new(Authenticator(), fmt="packed", statement="self")
    assert new(Authenticator(), fmt="packed", statement={"alg": ES256, "sig": b"wrong"}) is None


UNSEEN, UNVERIFIED = VERIFIED, PRESENT
FLAGS = {"flags": UNSEEN}, {"flags": UNVERIFIED}, {"flags": PRESENT | VERIFIED | BACKED_UP}
WRONG = [
    {"origin": "https://evil.example"},
    {"origin": "https://login.example.com:8443"},
    {"origin": "http://login.example.com"},
    {"origin": "https://login.example.com/"},
    {"origin": "https://other.example.com"},
    {"origin": "null"},
    {"rp_id": "login.example.com"},
    {"rp_id": "evil.example"},
    {"cross_origin": True},
    {"ceremony": "payment.get"},
]


@pytest.mark.parametrize("wrong", [*WRONG, *FLAGS, {"ceremony": "webauthn.create"}])
def test_a_use_is_refused_if_any_part_is_wrong(wrong):
    """Another page, another domain, a frame, another ceremony, no user there or none verified; and then it is right."""
    device = Authenticator()
    passkey = passkey_on(device)

    assert use(device, passkey, **wrong) is None
    assert use(device, passkey)


@pytest.mark.parametrize("wrong", [*WRONG, *({"flags": one["flags"] | ATTESTED} for one in FLAGS)])
def test_a_new_passkey_is_refused_if_any_part_is_wrong(wrong):
    """The same, and none is made by the signature of a login."""
    assert new(Authenticator(), **wrong) is None
    assert new(Authenticator(), ceremony="webauthn.get") is None


def test_the_challenge_is_the_one_that_was_signed():
    """An answer that says one challenge beside another is wrong."""
    device = Authenticator()
    passkey = passkey_on(device)
    answer = device.get(REQUEST)
    data = json.loads(unb64(answer["response"]["clientDataJSON"]))
    other = json.dumps({**data, "challenge": b64(bytes(38))}).encode()

    answer["response"]["clientDataJSON"] = b64(other)

    assert CEREMONIES.verify_use(read_assertion(answer), passkey) is None


def test_the_signature_is_that_of_the_passkey():
    """Not one of another key, nor of other data."""
    device, other = Authenticator(), Authenticator()
    passkey, others = passkey_on(device), passkey_on(other)

    assert use(other, passkey) is None
    answer = device.get(REQUEST)
    answer["response"]["signature"] = b64(b"no signature")
    assert CEREMONIES.verify_use(read_assertion(answer), passkey) is None
    answer = device.get(REQUEST)
    answer["response"]["authenticatorData"] = other.get(REQUEST, count=9)["response"]["authenticatorData"]
    assert CEREMONIES.verify_use(read_assertion(answer), passkey) is None
    assert use(other, others)


#    stored count, count of the use, whether it is right
COUNTS = [(0, 0, True), (0, 1, True), (5, 6, True), (5, 2**32 - 1, True), (5, 5, False), (5, 4, False), (5, 0, False)]


@pytest.mark.parametrize(("stored", "count", "right"), COUNTS)
def test_a_counter_grows(stored, count, right):
    """One that does not is that of a copy; an authenticator that never counts says 0."""
    device = Authenticator()
    passkey = passkey_on(device, sign_count=stored)

    assert (use(device, passkey, count=count) is not None) is right


def test_the_id_is_that_of_the_key():
    """An answer cannot name another passkey than the one it has."""
    device = Authenticator()
    answer = device.create(CREATION)
    answer["id"] = answer["rawId"] = b64(b"another")

    assert CEREMONIES.verify_new(read_attestation(answer)) is None


@pytest.mark.parametrize("size", [1, 1_023])
def test_ids_are_as_long_as_the_authenticator_likes(size):
    """Up to the 1,023 bytes of the standard."""
    device = Authenticator()

    assert new(device, id_bytes=size)


P384 = {1: 2, 3: -35, -1: 2, -2: bytes(48), -3: bytes(48)}
KEYS = [
    b"",
    b"\x00",
    b"\x04",
    b"\xff",
    cbor2.dumps([]),
    cbor2.dumps({}),
    cbor2.dumps({1: 2}),
    cbor2.dumps({1: 2, 3: ES256, -1: 1, -2: b"x", -3: b"y"}),
    cbor2.dumps({1: 2, 3: ES256, -1: 1, -2: bytes(32), -3: bytes(32)}),
    cbor2.dumps({1: 2, 3: ES256, -1: 1, -2: 7, -3: None}),
    cbor2.dumps({1: 2, 3: ES256, -1: 99, -2: bytes(32), -3: bytes(32)}),
    cbor2.dumps({1: 1, 3: EDDSA, -1: 6, -2: b"short"}),
    cbor2.dumps({1: 3, 3: RS256, -1: b"\x01", -2: b"\x01"}),
    cbor2.dumps({1: 3, 3: RS256, -1: b"\xff" * 4_000, -2: b"\x01\x00\x01"}),
    cbor2.dumps({1: 4, 3: ES256, -1: b"symmetric"}),
    cbor2.dumps({1: "OKP", 3: [-7]}),
    cbor2.dumps(P384),
    b"\x9f" * 3_000,
]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_what_is_no_key_is_refused_when_it_is_made(key):
    """Not at the first login with it; a key that is too long is none either."""
    assert new(Authenticator(), key_bytes=key) is None


@pytest.mark.parametrize(
    ("fmt", "statement"),
    [
        ("packed", {}),
        ("packed", {"alg": ES256, "sig": b"x", "x5c": [b"certificate"]}),
        ("none", {"sig": b"x"}),
        ("tpm", {"ver": "2.0", "x5c": [b"x"]}),
        ("android-safetynet", {"ver": "1", "response": b"x"}),
        ("fido-u2f", {"sig": b"x"}),
        ("none", {"x5c": []}),
        ("unheard-of", {}),
        (7, {}),
        (None, {}),
        ([], {}),
    ],
)
def test_no_certificate_is_read(fmt, statement):
    """No attestation was asked for, so one with certificates is refused before any of it is parsed."""
    assert new(Authenticator(), fmt=fmt, statement=statement) is None


def broken_objects():
    device = Authenticator()
    whole = cbor2.loads(unb64(device.create(CREATION)["response"]["attestationObject"]))
    data = whole["authData"]
    yield from (b"", b"\xa0", b"\x00", cbor2.dumps([]), cbor2.dumps({"fmt": "none"}))
    for value in (None, 7, "text", [], b"", data[:36], data[:60], data + b"x", data[:37] + b"\xff" * 200):
        yield cbor2.dumps({**whole, "authData": value})
    for statement in (None, 7, "text", [1], b"bytes"):
        yield cbor2.dumps({**whole, "attStmt": statement})
    yield cbor2.dumps({key: value for key, value in whole.items() if key != "attStmt"}) + b"\xff"


BROKEN = list(broken_objects())


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_no_authenticator_makes_is_refused(broken):
    """Cut short, of other types, or with bytes behind."""
    device = Authenticator()
    answer = device.create(CREATION)
    answer["response"]["attestationObject"] = b64(broken)

    assert CEREMONIES.verify_new(read_attestation(answer)) is None


DEVICE = Authenticator()
PASSKEY = passkey_on(DEVICE)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_other_bytes_are_refused(noise, place):
    """Noise in an attestation or in what was signed is refused, and raises nothing."""
    answer, made = DEVICE.get(REQUEST, count=9), DEVICE.attestation(Key(), CREATION)
    for one, member in ((answer, "authenticatorData"), (made, "attestationObject")):
        whole = unb64(one["response"][member])
        spoilt = whole[:place] + noise + whole[place + len(noise) :]
        if spoilt != whole:
            one["response"][member] = b64(spoilt)
            read, verify = (
                (read_assertion, lambda it: CEREMONIES.verify_use(it, PASSKEY))
                if one is answer
                else (read_attestation, CEREMONIES.verify_new)
            )
            verified = verify(read(one))
            assert verified is None or (one is made and isinstance(verified, VerifiedKey))


def test_what_is_wrong_is_logged(caplog):
    """An operator whose origins are wrong finds out; nothing that opens anything is in it."""
    device = Authenticator(origin="https://www.example.com")
    with caplog.at_level(logging.INFO, "tollhouse.accounts"):
        assert new(device) is None

    (record,) = caplog.records
    assert record.getMessage().startswith("passkey refused")
    assert record.origin == "https://www.example.com"
    assert "origin" in record.reason
