"""Tokens: what a client holds."""

from __future__ import annotations

import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.keyring import Keyring
from tollhouse.sessions import tokens
from tollhouse.sessions.tokens import Token

KEYRING = Keyring(secrets=(b"a secret for tests, 32 bytes or more",))
OTHER = Keyring(secrets=(b"another secret for tests, 32 bytes or more",))
DIGEST = "0e" * 16
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

TEXT = tokens.issue(KEYRING, DIGEST, lambda count: bytes(range(count))).reveal()

#    what is wrong, the text
MALFORMED = [
    ("nothing at all", ""),
    ("one part", "v1"),
    ("another version", TEXT.replace("v1.", "v2.", 1)),
    ("a part too few", TEXT.rpartition(".")[0]),
    ("a part too many", TEXT + ".x"),
    ("a line feed at the end", TEXT + "\n"),
    ("a space in front", " " + TEXT),
    ("capitals in the key id", TEXT[:3] + TEXT[3:11].upper().replace("0", "A") + TEXT[11:]),
    ("a digest that is no hexadecimal number", TEXT.replace(".0e", ".0g")),
    ("a digest that is too short", TEXT.replace(".0e", ".")),
    ("a tag in place of the digest, as before", TEXT.replace(DIGEST, "0e")),
    ("a sid with a character that base32 lacks", TEXT.replace(".aaaq", ".aaa1")),
    ("a sid in a second spelling", re.sub(r"(\.[a-z2-7]{25})[a-z2-7]\.", r"\1b.", TEXT)),
    ("a secret in a second spelling", TEXT[:-1] + "9"),
    ("a secret that is too short", TEXT[:-1]),
    ("digits of another script", TEXT.replace("v1.", "v\u0661.", 1)),
    ("a key of ours as a sid", f"v1.00000000.{DIGEST}.:everyone.x"),
]


def test_a_token_reads_back_as_itself():
    """An issued token is parsed back into the same parts."""
    token = tokens.issue(KEYRING, DIGEST)

    parsed = tokens.parse(token.reveal())

    assert parsed == token
    assert token.key_id == KEYRING.key_ids()[0]
    assert token.digest == DIGEST


@pytest.mark.asvs("7.2.3")
def test_a_token_is_128_public_and_256_secret_bits():
    """The sid is 16 random bytes in base32, the secret 32 random bytes in base64url."""
    asked = []

    def zeros(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    token = tokens.issue(KEYRING, DIGEST, zeros)

    assert asked == [16, 32]
    assert (token.sid, token.secret) == ("a" * 26, "A" * 43)


@pytest.mark.asvs("7.2.3")
def test_tokens_do_not_repeat():
    """Ten thousand tokens have as many sids and secrets."""
    issued = [tokens.issue(KEYRING, DIGEST) for _ in range(10_000)]

    assert len({token.sid for token in issued}) == len(issued)
    assert len({token.secret for token in issued}) == len(issued)


@pytest.mark.parametrize("text", [text for _, text in MALFORMED], ids=[what for what, _ in MALFORMED])
def test_any_text_that_is_not_exactly_a_token_is_none(text):
    """A text that differs from a token in any way is no token."""
    assert tokens.parse(text) is None


@given(st.text(ALPHABET, min_size=90, max_size=130) | st.text(max_size=130))
def test_any_text_is_refused_or_is_the_one_spelling_of_its_token(text):
    """Reading a text either fails or gives a token that reveals that same text."""
    parsed = tokens.parse(text)

    assert parsed is None or parsed.reveal() == text


@given(position=st.integers(0, len(TEXT) - 1), character=st.sampled_from(ALPHABET))
def test_one_changed_character_is_another_token_or_none(position, character):
    """No two texts are the same token."""
    changed = TEXT[:position] + character + TEXT[position + 1 :]

    parsed = tokens.parse(changed)

    assert parsed is None or changed == TEXT or parsed != tokens.parse(TEXT)


def test_only_reveal_shows_the_secret_of_a_token():
    """Neither repr, str nor a format shows the secret."""
    token = tokens.issue(KEYRING, DIGEST)

    shown = f"{token!r} {token} {[token]}"

    assert token.secret not in shown
    assert token.sid in shown


def test_a_verifier_is_192_bits_that_depend_on_key_sid_and_secret():
    """The verifier changes with the deployment's secret, the sid and the secret, and contains none of them."""
    token = tokens.issue(KEYRING, DIGEST)
    sibling = tokens.issue(KEYRING, DIGEST)
    swapped = Token(key_id=token.key_id, digest=token.digest, sid=token.sid, secret=sibling.secret)
    moved = Token(key_id=token.key_id, digest=token.digest, sid=sibling.sid, secret=token.secret)
    foreign = Token(key_id=OTHER.key_ids()[0], digest=token.digest, sid=token.sid, secret=token.secret)

    verifiers = [tokens.verifier(KEYRING, each) for each in (token, swapped, moved)] + [tokens.verifier(OTHER, foreign)]

    assert len(set(verifiers)) == 4
    assert all(re.fullmatch("[0-9a-f]{48}", verifier) for verifier in verifiers)


@given(secret=st.binary(min_size=32, max_size=100))
def test_a_verifier_is_the_hmac_of_sid_and_secret(secret):
    """It is the first 24 bytes of HMAC-SHA-256, as the standard library computes it."""
    keyring = Keyring(secrets=(secret,))
    token = tokens.issue(keyring, DIGEST)
    key = keyring.key("session-token")
    assert key is not None

    expected = hmac.digest(key, (token.sid + token.secret).encode(), "sha256")[:24]

    assert tokens.verifier(keyring, token) == expected.hex()


def test_a_token_under_an_older_secret_has_its_verifier_until_the_secret_is_dropped():
    """Rotation keeps a token's verifier; dropping the secret that it was made under ends that."""
    token = tokens.issue(KEYRING, DIGEST)
    rotated = Keyring(secrets=OTHER.secrets + KEYRING.secrets)

    assert tokens.verifier(rotated, token) == tokens.verifier(KEYRING, token)
    assert tokens.verifier(OTHER, token) is None


@pytest.mark.parametrize(
    ("text", "is_sid"),
    [("a" * 26, True), ("a" * 25 + "b", False), ("a" * 25, False), ("", False), ("a" * 26 + "\n", False)],
)
def test_a_sid_is_recognized(text, is_sid):
    """Only the one spelling of 128 bits is a sid."""
    assert tokens.is_sid(text) is is_sid
