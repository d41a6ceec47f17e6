"""The envelope of cached bodies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tollhouse.cache.envelope import TAGS_MAX, Envelope, decode, encode

EPOCH = "0123456789abcdef" + "fedcba9876543210"
A_FRAME = Envelope(
    stored_ms=1_800_000_000_000,
    fresh_until_ms=1_800_003_600_000,
    load_ms=42,
    epoch=EPOCH,
    sequence=7,
    tags=("a" * 16, "b" * 16),
)

TIMES = st.integers(0, 9_999_999_999_999)
HEX = "0123456789abcdef"
HEADERS = st.builds(
    Envelope,
    stored_ms=TIMES,
    fresh_until_ms=TIMES,
    load_ms=st.integers(0, 99_999_999),
    epoch=st.text(HEX + " ", min_size=32, max_size=32),
    sequence=st.integers(0, 999_999_999_999),
    tags=st.lists(st.text(HEX, min_size=16, max_size=16), max_size=TAGS_MAX).map(tuple),
)


def test_the_header_is_fixed_width_text_in_front_of_the_body():
    """Every field is at the offset that the scripts read."""
    data = encode(A_FRAME, b"body")

    assert data[0:2] == b"R1"
    assert data[2:15] == b"1800000000000"
    assert data[15:28] == b"1800003600000"
    assert data[28:36] == b"00000042"
    assert data[36:68] == EPOCH.encode()
    assert data[68:80] == b"000000000007"
    assert data[80:82] == b"02"
    assert data[82:114] == b"a" * 16 + b"b" * 16
    assert data[114:] == b"body"


@given(header=HEADERS, body=st.binary(max_size=64))
def test_an_envelope_is_decoded_as_it_was_encoded(header: Envelope, body: bytes):
    """Decoding returns the header and the body that were encoded, for any of them."""
    assert decode(encode(header, body)) == (header, body)


def test_a_load_of_days_is_recorded_as_the_longest_that_fits():
    """A load time beyond eight digits does not move the fields behind it."""
    days = Envelope(stored_ms=1, fresh_until_ms=2, load_ms=10**9, epoch=EPOCH, sequence=0, tags=())

    header, body = decode(encode(days, b"x"))

    assert (header.load_ms, body) == (99_999_999, b"x")
