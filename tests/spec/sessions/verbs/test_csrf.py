"""CSRF tokens: bound to one session, good under every secret that is configured."""

from __future__ import annotations

import pytest

from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.sessions import tokens
from tollhouse.sessions.verbs.csrf import is_csrf_token, make_csrf_token

OLD, NEW = b"a secret for tests, 32 bytes or more", b"another secret for tests, 32 bytes or more"
KEYRING = Keyring(secrets=(OLD,))
SID, OTHER_SID = tokens.new_sid(), tokens.new_sid()
TEXT = make_csrf_token(KEYRING, SID, lambda count: bytes(range(count)))


def test_a_token_is_one_of_its_session_alone():
    """A token counts as often as it is sent, for the session that it was made for and for no other."""
    assert is_csrf_token(KEYRING, SID, TEXT)
    assert is_csrf_token(KEYRING, SID, TEXT)
    assert not is_csrf_token(KEYRING, OTHER_SID, TEXT)


def test_no_two_tokens_are_alike():
    """Two tokens of one session have no part in common, so that no length of a compressed page tells of them."""
    first, second = (make_csrf_token(KEYRING, SID, tokens.secrets.token_bytes) for _ in range(2))

    assert not set(first.split(".")) & set(second.split("."))
    assert is_csrf_token(KEYRING, SID, first)
    assert is_csrf_token(KEYRING, SID, second)


def test_a_token_outlives_a_change_of_secrets_until_its_own_is_dropped():
    """It is good while its secret is listed, and without it opens nothing; the newest secret makes new ones."""
    both, later = Keyring(secrets=(NEW, OLD)), Keyring(secrets=(NEW,))

    assert is_csrf_token(both, SID, TEXT)
    assert not is_csrf_token(later, SID, TEXT)
    assert is_csrf_token(later, SID, make_csrf_token(both, SID, tokens.secrets.token_bytes))


#   what is wrong, the text
WRONG = [
    ("nothing", ""),
    ("one part", TEXT.partition(".")[0]),
    ("another random part", "A" * 22 + TEXT[22:]),
    ("another MAC", TEXT[:-2] + ("AA" if TEXT[-2:] != "AA" else "BA")),
    ("a part too many", TEXT + ".x"),
    ("a line feed", TEXT + "\n"),
    ("no ASCII", TEXT[:-1] + "é"),
    ("far too long", TEXT * 10_000),
]


@pytest.mark.parametrize(("what", "text"), WRONG, ids=[what for what, _ in WRONG])
def test_another_text_is_no_token(what: str, text: str):
    """Whatever a client sends is compared, and refused without an error."""
    assert not is_csrf_token(KEYRING, SID, text), what


def test_what_is_no_text_is_a_mistake_of_the_caller():
    """A form that has no such field is to be refused by the application; None is not quietly wrong."""
    with pytest.raises(InvalidInput) as refusal:
        is_csrf_token(KEYRING, SID, None)  # type: ignore[arg-type] - a mistake of the caller

    assert refusal.value.field == "csrf_token"
