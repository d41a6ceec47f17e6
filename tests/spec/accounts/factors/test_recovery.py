"""Recovery codes: ten texts that cannot be guessed, of which hashes are stored, and each of which is good once."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.accounts.factors.recovery import codes_left, new_codes, required_recovery_code
from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring

OLD, NEW = b"a secret for tests, 32 bytes or more", b"the next secret, also 32 bytes or more"
KEYRING = Keyring(secrets=(OLD,))


@pytest.mark.asvs("6.5.2", "6.5.3", "6.5.4")
def test_there_are_ten_codes_of_120_bits():
    """ASVS 6.5.2 to 6.5.4: with 112 bits or more, of a CSPRNG, a code needs no password hash: a keyed one is stored."""
    asked = []

    def random_bytes(count):
        asked.append(count)
        return bytes([len(asked)]) * count

    codes, stored = new_codes(KEYRING, "ada", random_bytes)

    assert asked == [15] * 10
    assert len(set(codes)) == len({one.hash for one in stored}) == 10
    for code in codes:
        assert re.fullmatch(r"([0-9abcdefghjkmnpqrstvwxyz]{4}-){5}[0-9abcdefghjkmnpqrstvwxyz]{4}", code)
        assert code.replace("-", "") not in repr(stored)
    assert len({code for _ in range(100) for code in new_codes(KEYRING, "ada")[0]}) == 1000


@pytest.mark.parametrize("number", range(10))
def test_a_code_is_good_once(number):
    """The codes that are left are those of before without the one that was used, which is then none of them."""
    codes, stored = new_codes(KEYRING, "ada")
    code = required_recovery_code(codes[number])

    left = codes_left(KEYRING, "ada", stored, code)

    assert left == (*stored[:number], *stored[number + 1 :])
    assert codes_left(KEYRING, "ada", left, code) is None


def test_a_code_is_of_one_user_and_one_secret():
    """The hash of a code is of no use in another account, and none without the secret that it was made under."""
    codes, stored = new_codes(KEYRING, "ada")
    code = required_recovery_code(codes[0])

    assert codes_left(KEYRING, "bob", stored, code) is None
    assert codes_left(Keyring(secrets=(NEW,)), "ada", stored, code) is None
    assert codes_left(Keyring(secrets=(NEW, OLD)), "ada", stored, code) == stored[1:]
    assert codes_left(KEYRING, "ada", (), code) is None


@given(st.binary(min_size=15, max_size=15), st.randoms())
def test_a_code_may_be_typed_as_users_type(random, choice):
    """Case, hyphens and spaces do not count, and characters that look alike are one: O and 0, I, L and 1."""
    (shown, *_), _ = new_codes(KEYRING, "ada", lambda _: random)
    alike = {"0": "0oO", "1": "1iIlL", "-": ("-", " ", "", " - ")}
    typed = "".join(choice.choice(alike.get(one, one + one.upper())) for one in shown)

    assert required_recovery_code(typed) == shown.replace("-", "")


CODE = "0123-4567-89ab-cdef-ghjk-mnpq"
#    what is wrong, the text
HOSTILE = [
    ("nothing", ""),
    ("separators alone", "- - -"),
    ("too short", CODE[:-1]),
    ("too long", CODE + "0"),
    ("very long", CODE * 10_000),
    ("a letter that no code has", CODE[:-1] + "u"),
    ("Arabic digits", CODE.replace("0123", "٠١٢٣")),
    ("full-width digits", CODE.replace("0", "\uff10")),
    ("a letter whose lower case is ASCII", CODE.replace("k", "\u212a")),
    ("another dash", CODE.replace("-", "\u2010")),
    ("a line feed at the end", CODE + "\n"),
    ("half a character", CODE + "\ud800"),
]


@pytest.mark.parametrize(("what", "text"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_what_no_code_can_be_is_an_error(what, text):
    """Other lengths, letters and digits are refused before anything is hashed, and not repeated."""
    with pytest.raises(InvalidInput) as raised:
        required_recovery_code(text)

    assert (raised.value.field, raised.value.value) == ("code", "(hidden)")


def test_a_code_that_is_no_text_is_an_error():
    """The error names the type alone."""
    with pytest.raises(InvalidInput) as raised:
        required_recovery_code(b"0123")  # pyright: ignore[reportArgumentType] - what a caller without types may pass

    assert (raised.value.field, raised.value.value) == ("code", "bytes")
