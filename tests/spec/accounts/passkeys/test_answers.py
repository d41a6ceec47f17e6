"""Answers of browsers: taken apart member by member, within bounds; what is wrong is named and not repeated."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.authenticators import Authenticator, b64, unb64
from tollhouse.accounts.passkeys.answers import base64url, read_assertion, read_attestation
from tollhouse.accounts.passkeys.options import creation_options, request_options
from tollhouse.accounts.passkeys.relying_party import RelyingParty
from tollhouse.errors import InvalidInput

PARTY = RelyingParty(id="example.com", name="Acme", origins=("https://login.example.com",))
CHALLENGE = bytes(range(38))
HANDLE = b64(bytes(32))


def created(**options):
    device = Authenticator()
    wanted = creation_options(PARTY, CHALLENGE, user="ada", handle=HANDLE, present=())
    return device, device.create(wanted.public_key, **options)


def used():
    device, _ = created()
    return device.get(request_options(PARTY, CHALLENGE).public_key)


def changed(answer, member, value):
    """Return an answer with another value of a member, such as `response.signature`; or without it."""
    copy = json.loads(json.dumps(answer))
    holder, name = (copy["response"], member.partition(".")[2]) if "." in member else (copy, member)
    holder.pop(name, None)
    if value is not ...:
        holder[name] = value
    return copy


def test_a_use_is_read():
    """Each member as bytes; the id and the user handle as texts, by which an account is found."""
    answer = used()

    read = read_assertion(answer)

    assert (read.id, read.raw_id) == (answer["id"], unb64(answer["id"]))
    assert (read.user_handle, read.challenge) == (HANDLE, CHALLENGE)
    assert read.page.origin == "https://login.example.com"
    assert read.signature == unb64(answer["response"]["signature"])
    assert read.client_data == unb64(answer["response"]["clientDataJSON"])


@pytest.mark.parametrize("value", [..., None, ""])
def test_a_use_may_name_no_user(value):
    """A security key that was asked for by its id may leave the user out."""
    assert read_assertion(changed(used(), "response.userHandle", value)).user_handle is None


def test_a_new_passkey_is_read():
    """With the transports by which a browser finds it again."""
    _, answer = created()

    read = read_attestation(answer)

    assert (read.id, read.challenge, read.transports) == (answer["id"], CHALLENGE, ("internal", "hybrid"))
    assert read.attestation_object == unb64(answer["response"]["attestationObject"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (..., ()),
        ([], ()),
        (["usb", "usb", "nfc"], ("usb", "nfc")),
        (["USB", "", "a b", "x" * 33, "ble"], ("ble",)),
        ([f"x-{chr(97 + number)}" for number in range(20)], tuple(f"x-{chr(97 + number)}" for number in range(8))),
    ],
)
def test_transports_are_words(given, kept):
    """Eight at most; what is no word is left out, for they only help."""
    assert read_attestation(changed(created()[1], "response.transports", given)).transports == kept


#    the member, its value, what the remedy says
WRONG_USES = [
    ("id", ..., "id"),
    ("id", 7, "Expected `str`"),
    ("id", "", "not empty"),
    ("id", b64(bytes(1_024)), "at most 1,023"),
    ("rawId", "AAAA", "the same as `id`"),
    ("type", "password", "Invalid enum"),
    ("response", None, "Expected `object`"),
    ("response", "x", "Expected `object`"),
    ("response.signature", ..., "signature"),
    ("response.signature", "x" * 70_000, "length <="),
    ("response.signature", "x" * 2_000, "at most 1,024"),
    ("response.signature", "AA==", "without padding"),
    ("response.signature", "A", "without padding"),
    ("response.signature", "AB", "no byte has"),
    ("response.signature", "A+/A", "base64url"),
    ("response.authenticatorData", [], "Expected `str`"),
    ("response.authenticatorData", "A" * 5_464, "at most 4,096"),
    ("response.clientDataJSON", b64(b"not json"), "toJSON"),
    ("response.clientDataJSON", b64(b"\xff\xfe"), "toJSON"),
    ("response.clientDataJSON", b64(b"[]"), "toJSON"),
    ("response.clientDataJSON", b64(b'{"challenge": 7, "origin": ""}'), "toJSON"),
    ("response.clientDataJSON", b64(b'{"challenge": "A", "origin": ""}'), "padding"),
    ("response.clientDataJSON", b64(b'{"x": ' + b"[" * 3_000), "toJSON"),
    ("response.userHandle", b64(bytes(65)), "at most 64"),
    ("response.userHandle", "\u0661" * 4, "base64url"),
]


@pytest.mark.parametrize(("member", "value", "remedy"), WRONG_USES, ids=[repr(row[:2])[:60] for row in WRONG_USES])
def test_what_is_wrong_is_named(member, value, remedy):
    """The field is that of the body of a request; the value is hidden, for an answer is a secret until it is spent."""
    with pytest.raises(InvalidInput) as refused:
        read_assertion(changed(used(), member, value))

    assert refused.value.field.startswith("credential")
    assert remedy in refused.value.remedy
    assert refused.value.value == "(hidden)"
    assert len(refused.value.remedy) < 250


def test_the_member_is_the_one_at_fault():
    """A program finds it: `credential.response.signature`."""
    with pytest.raises(InvalidInput) as refused:
        read_assertion(changed(used(), "response.signature", 7))

    assert refused.value.field == "credential.response.signature"


@pytest.mark.parametrize("value", [7, "x" * 20_000, b64(bytes(8_193)), ...])
def test_an_attestation_has_a_bound_too(value):
    """8,192 bytes: one without certificates has a few hundred."""
    with pytest.raises(InvalidInput) as refused:
        read_attestation(changed(created()[1], "response.attestationObject", value))

    assert refused.value.field.startswith("credential.response")


@pytest.mark.parametrize("answer", [None, "{}", b"{}", [], 7])
def test_what_is_no_object_is_no_answer(answer):
    """A caller that passes text has not parsed it."""
    for read in (read_assertion, read_attestation):
        with pytest.raises(InvalidInput) as refused:
            read(answer)
        assert refused.value.field == "credential"


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
JSON = st.recursive(LEAVES, lambda one: st.lists(one, max_size=3), max_leaves=5)


@given(
    st.dictionaries(
        st.sampled_from(["id", "rawId", "type", "response", "x"]), JSON | st.dictionaries(st.text(), JSON, max_size=5)
    )
)
def test_whatever_is_sent_is_an_answer_or_an_error(answer):
    """No other exception gets out."""
    for read in (read_assertion, read_attestation):
        with pytest.raises(InvalidInput):
            read(answer)


@given(st.binary(max_size=50))
def test_bytes_have_one_spelling(value):
    """As the one of the standard library, without padding."""
    assert base64url(value) == base64.urlsafe_b64encode(value).decode().rstrip("=")
