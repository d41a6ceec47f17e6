"""One-time passwords by time: the codes of RFC 6238, seeds that are not stored, and codes that are good once."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tollhouse.accounts.factors import totp
from tollhouse.accounts.factors.totp import STEP_MS, required_code, step_of
from tollhouse.errors import InvalidInput
from tollhouse.keyring import Keyring

OLD, NEW = b"a secret for tests, 32 bytes or more", b"the next secret, also 32 bytes or more"
KEYRING = Keyring(secrets=(OLD,))
RFC_SEED = b"12345678901234567890"
SEED = bytes(range(20))
NOW_MS = 1_800_000_000_000
STEP = NOW_MS // STEP_MS

#    RFC 6238, Appendix B: time in seconds, eight digits
VECTORS = [
    (59, "94287082"),
    (1_111_111_109, "07081804"),
    (1_111_111_111, "14050471"),
    (1_234_567_890, "89005924"),
    (2_000_000_000, "69279037"),
    (20_000_000_000, "65353130"),
]
#    RFC 4226, Appendix D: the codes of the counters 0 to 9
COUNTED = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]


@pytest.mark.parametrize(("at_s", "code"), VECTORS)
def test_the_codes_are_those_of_rfc_6238(at_s, code):
    """RFC 6238, Appendix B: the code of a time, for SHA-1."""
    assert totp.otp(RFC_SEED, totp.step_at(at_s * 1000), digits=8) == code


def test_six_digits_are_those_of_rfc_4226():
    """RFC 4226, Appendix D: a code has six digits, zeros in front too."""
    assert [totp.otp(RFC_SEED, counter) for counter in range(10)] == COUNTED


#    window, steps after the one of now, whether the code counts
WINDOWS = [(0, 0, True), (0, -1, False), (0, 1, False), (1, -1, True), (1, 1, True), (1, -2, False), (1, 2, False)]


@pytest.mark.asvs("6.5.5")
@pytest.mark.parametrize(("window", "away", "good"), WINDOWS)
def test_a_code_counts_for_its_own_30_seconds(window, away, good):
    """ASVS 6.5.5: by default a code lives for 30 seconds; a window of 1 takes the ones before and after, too."""
    code = totp.otp(SEED, STEP + away)

    assert step_of(SEED, code, now_ms=NOW_MS, window=window, last_step=-1) == (STEP + away if good else None)


def test_the_first_step_has_none_before_it():
    """A clock near 1970 breaks nothing: there is no step before the first."""
    assert step_of(SEED, totp.otp(SEED, 0), now_ms=0, window=1, last_step=-1) == 0


@pytest.mark.asvs("6.5.1")
@pytest.mark.parametrize("used", [STEP, STEP + 1])
def test_a_code_that_was_used_is_no_code(used):
    """ASVS 6.5.1: the code of the last step that was used is refused, and so are those before it."""
    assert step_of(SEED, totp.otp(SEED, STEP), now_ms=NOW_MS, window=1, last_step=used) is None


@given(st.from_regex(r"[0-9]{6}", fullmatch=True))
def test_no_other_code_is_good(code):
    """A code is good if it is the one of the step, and no other is."""
    found = step_of(SEED, code, now_ms=NOW_MS, window=0, last_step=-1)

    assert (found is not None) == (code == totp.otp(SEED, STEP))


def test_a_seed_is_not_stored():
    """What is stored is a nonce: the seed takes the deployment's secret, and is another for every user and nonce."""
    stored = totp.new_seed(KEYRING)
    seed = totp.seed_bytes(KEYRING, "ada", stored)

    assert seed is not None
    assert len(seed) == totp.SEED_BYTES
    assert seed.hex() not in repr(stored)
    others = [
        totp.seed_bytes(KEYRING, "bob", stored),
        totp.seed_bytes(KEYRING, "ada", totp.new_seed(KEYRING)),
        totp.seed_bytes(Keyring(secrets=(NEW,)), "ada", replace(stored, key_id=Keyring(secrets=(NEW,)).key_ids()[0])),
    ]
    assert len({seed, *others}) == 4


def test_a_rotation_of_the_secret_keeps_a_seed():
    """A seed stays the same while the secret that it was derived from is configured, and is gone with that."""
    stored = totp.new_seed(KEYRING)
    seed = totp.seed_bytes(KEYRING, "ada", stored)

    assert totp.seed_bytes(Keyring(secrets=(NEW, OLD)), "ada", stored) == seed
    assert totp.seed_bytes(Keyring(secrets=(NEW,)), "ada", stored) is None
    assert totp.new_seed(Keyring(secrets=(NEW, OLD))).key_id == Keyring(secrets=(NEW,)).key_ids()[0]


@pytest.mark.asvs("6.5.3")
def test_the_random_part_of_a_seed_has_128_bits():
    """ASVS 6.5.3: the nonce is of a CSPRNG; a seed of 160 bits is derived from it by HMAC."""
    stored = totp.new_seed(KEYRING, lambda count: bytes(range(count)))

    assert stored.nonce == bytes(range(16)).hex()
    assert (stored.last_step, stored.confirmed) == (-1, False)
    assert len({totp.new_seed(KEYRING).nonce for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("text", "code"), [("012345", "012345"), ("012 345", "012345")])
def test_a_code_is_six_digits(text, code):
    """A code may have the space in the middle that apps show."""
    assert required_code(text) == code


#    what is wrong, the text
HOSTILE = [
    ("nothing", ""),
    ("too short", "12345"),
    ("too long", "1234567"),
    ("very long", "1" * 100_000),
    ("Arabic digits", "١٢٣٤٥٦"),
    ("full-width digits", "\uff11\uff12\uff13\uff14\uff15\uff16"),
    ("superscripts", "¹²³⁴⁵⁶"),
    ("a sign", "-12345"),
    ("a fraction", "1234.5"),
    ("a line feed at the end", "123456\n"),
    ("spaces around", " 123456 "),
    ("two spaces", "123  456"),
    ("a no-break space", "123\u00a0456"),
    ("letters", "12345a"),
    ("a zero byte", "123\x00456"),
    ("half a character", "12345\ud800"),
]


@pytest.mark.parametrize(("what", "text"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_what_no_code_can_be_is_an_error(what, text):
    """Digits of other scripts, signs and other lengths are refused before anything is compared, and not repeated."""
    with pytest.raises(InvalidInput) as raised:
        required_code(text)

    assert (raised.value.field, raised.value.value) == ("code", "(hidden)")


def test_a_code_that_is_no_text_is_an_error():
    """A number would lose its zeros in front: the error names the type alone."""
    with pytest.raises(InvalidInput) as raised:
        required_code(123456)  # pyright: ignore[reportArgumentType] - what a caller without types may pass

    assert (raised.value.field, raised.value.value) == ("code", "int")


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_an_app_reads_the_seed_from_the_uri(issuer, user):
    """The URI has the seed, who issues it and for whom, whatever characters these have."""
    uri = urlsplit(totp.otpauth_uri(SEED, issuer=issuer, user=user))
    query = {name: one for name, (one,) in parse_qs(uri.query, strict_parsing=True).items()}

    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert tuple(map(unquote, uri.path[1:].split(":"))) == (issuer, user)
    assert query == {
        "secret": base64.b32encode(SEED).decode(),
        "issuer": issuer,
        "algorithm": "SHA1",
        "digits": "6",
        "period": "30",
    }
