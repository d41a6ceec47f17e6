"""Tickets: what a client holds whose login waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring
from tollhouse.sessions import tickets, tokens
from tollhouse.sessions.tickets import Ticket

KEYRING = Keyring(secrets=(b"a secret for tests, 32 bytes or more",))
OTHER = Keyring(secrets=(b"another secret for tests, 32 bytes or more",))
DIGEST = "0e" * 16
TICKET = tickets.issue(KEYRING, DIGEST, lambda count: bytes(range(count)))
TEXT = TICKET.reveal()
ALPHABET = "abcdefABCDEF0123456789-_.tv"

#    what is wrong, the text
MALFORMED = [
    ("nothing at all", ""),
    ("another version", TEXT.replace("t1.", "t2.", 1)),
    ("a session's token", tokens.issue(KEYRING, DIGEST).reveal()),
    ("the version of a token", TEXT.replace("t1.", "v1.", 1)),
    ("a part too few", TEXT.rpartition(".")[0]),
    ("a part too many", TEXT + ".x"),
    ("a line feed at the end", TEXT + "\n"),
    ("a space in front", " " + TEXT),
    ("a digest that is no hexadecimal number", TEXT.replace(".0e", ".0g")),
    ("a secret in a second spelling", TEXT[:-1] + "9"),
    ("a secret that is too short", TEXT[:-1]),
    ("digits of another script", TEXT.replace("t1.", "t\u0661.", 1)),
]


def test_a_ticket_reads_back_as_itself():
    """An issued ticket is parsed back into the same parts, which name the newest secret and the user's digest."""
    assert tickets.parse(TEXT) == TICKET
    assert (TICKET.key_id, TICKET.digest) == (KEYRING.key_ids()[0], DIGEST)


@pytest.mark.parametrize(("what", "text"), MALFORMED, ids=[what for what, _ in MALFORMED])
def test_what_is_no_ticket_is_refused(what, text):
    """One exact form, anything else is no ticket."""
    assert tickets.parse(text) is None


@given(st.one_of(st.text(ALPHABET, max_size=100), st.text(max_size=100)))
def test_no_other_text_is_a_ticket(text):
    """A text is a ticket only if the ticket is spelt like it."""
    found = tickets.parse(text)

    assert found is None or found.reveal() == text


@pytest.mark.parametrize("value", [None, 1, b"t1", TICKET])
def test_what_is_no_text_is_an_error(value):
    """A caller that passes something else made a mistake, which is named without the value."""
    with pytest.raises(InvalidInput) as raised:
        tickets.parse(value)

    assert (raised.value.field, raised.value.value) == ("ticket", type(value).__name__)


def test_a_ticket_hides_its_secret():
    """P5: no text that a log could get of a ticket has its secret or its user in it."""
    assert TICKET.secret not in repr(TICKET)
    assert DIGEST not in str(TICKET)


def test_a_verifier_is_of_one_ticket_and_one_secret():
    """The verifier depends on all parts that are secret or name the user, and is another one than a token's."""
    verifier = tickets.verifier(KEYRING, TICKET)
    token = tokens.issue(KEYRING, DIGEST)

    assert verifier is not None
    assert len(verifier) == 48
    assert verifier != tickets.verifier(KEYRING, replace(TICKET, digest="0f" * 16))
    assert verifier != tickets.verifier(KEYRING, replace(TICKET, secret=tokens.new_secret()))
    assert tickets.verifier(OTHER, TICKET) is None
    shared = Ticket(key_id=token.key_id, digest=DIGEST, secret=token.secret)
    assert tickets.verifier(KEYRING, shared) != tokens.verifier(KEYRING, token)
