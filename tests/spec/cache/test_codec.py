"""Cached values as bytes."""

from __future__ import annotations

import random
import struct
from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tollhouse.cache.codec import (
    COMPRESS_BYTES_MIN,
    UNPACKED_BYTES_MAX,
    UNSUPPORTED,
    CodecName,
    DecodedBody,
    decode_body,
    decoding_bytes,
    encode_body,
    encode_value,
    reason_against,
    zstd,
)

DIGEST = bytes(range(16))


class Found(Struct, frozen=True):
    """A value with types that JSON does not have."""

    pair: tuple[int, int]
    day: date
    key: UUID


FOUND = Found((1, 2), date(2026, 11, 28), UUID(int=7))
CODECS: tuple[CodecName, ...] = ("msgpack", "json")
HEAD = struct.Struct(">cccQ16s")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
@given(value=JSON)
def test_a_value_is_read_as_it_was_written(codec: CodecName, value: object):
    """Any JSON value comes back equal, in either codec; None, 0, "" and [] are values."""
    assert decode_body(encode_body(encode_value(value, codec), codec, DIGEST), DIGEST) == DecodedBody(value=value)


def test_readers_understand_both_codecs():
    """S1-22, S3-19: a body names its own codec."""
    assert decode_body(encode_body(encode_value([1], "json"), "json", DIGEST), DIGEST) == DecodedBody(value=[1])
    assert encode_body(encode_value({"a": 1}, "json"), "json", DIGEST).endswith(b'{"a":1}')


def test_bytes_survive_in_msgpack():
    """The default codec keeps bytes as bytes."""
    assert decode_body(encode_body(encode_value(b"\x00\xff", "msgpack"), "msgpack", DIGEST), DIGEST) == DecodedBody(
        value=b"\x00\xff"
    )


@pytest.mark.parametrize("codec", CODECS)
def test_a_value_is_read_as_the_type_that_is_given(codec: CodecName):
    """A Struct, a tuple and a date come back as such, in either codec; a value of another type is not there."""
    stored = encode_body(encode_value(FOUND, codec), codec, DIGEST)

    assert decode_body(stored, DIGEST, Found) == DecodedBody(value=FOUND)
    assert decode_body(stored, DIGEST, dict[str, int]) is None


@pytest.mark.parametrize("value", [object(), lambda: None, "\ud800", 2**64])
def test_a_value_without_a_form_is_refused(value: object):
    """A value that the codec cannot encode is refused; nothing is pickled."""
    with pytest.raises(UNSUPPORTED):
        encode_value(value, "msgpack")


def test_a_long_value_is_compressed_when_that_saves_a_tenth():
    """S2-19: from 4 KiB on bodies are compressed, and decompress to the same bytes."""
    short = encode_body(encode_value("a" * (COMPRESS_BYTES_MIN - 100), "json"), "json", DIGEST)
    long = encode_body(encode_value("a" * COMPRESS_BYTES_MIN, "json"), "json", DIGEST)

    assert len(short) > COMPRESS_BYTES_MIN - 100
    assert len(long) < 200
    assert decode_body(long, DIGEST) == DecodedBody(value="a" * COMPRESS_BYTES_MIN)


def test_a_long_value_that_hardly_shrinks_is_stored_as_it_is():
    """A body stays uncompressed if compression saves less than a tenth."""
    noise = random.Random(1).randbytes(3 * COMPRESS_BYTES_MIN)

    packed = encode_value(noise, "msgpack")

    assert encode_body(packed, "msgpack", DIGEST)[HEAD.size :] == packed


def test_a_body_of_another_key_is_not_read():
    """A body names its key, so that a mix-up of replies cannot return another key's value."""
    assert decode_body(encode_body(encode_value("x", "json"), "json", DIGEST), bytes(16)) is None


def _body(layout: bytes = b"1", codec: bytes = b"j", compression: bytes = b"-", size: int = 1, payload: bytes = b"1"):
    return HEAD.pack(layout, codec, compression, size, DIGEST) + payload


def test_the_pieces_of_a_body_are_where_this_test_believes():
    """The damaged bodies below differ from a sound one in the named piece only."""
    assert decode_body(_body(), DIGEST) == DecodedBody(value=1)
    assert decode_body(_body(compression=b"z", payload=zstd.compress(b"1")), DIGEST) == DecodedBody(value=1)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"1j-",
        _body(layout=b"2"),
        _body(codec=b"p"),
        _body(compression=b"g"),
        _body(size=2),
        _body(payload=b"{"),
        _body(size=3, payload=b'"\xff"'),
        _body(size=20_000, payload=b"[" * 20_000),
        _body(compression=b"z", payload=b"no zstd"),
        _body(compression=b"z", payload=zstd.compress(b"1")[:-1]),
        _body(compression=b"z", size=1, payload=zstd.compress(b"11")),
        _body(compression=b"z", size=3, payload=zstd.compress(b"11")),
        _body(compression=b"z", size=UNPACKED_BYTES_MAX + 1, payload=zstd.compress(b"1".rjust(UNPACKED_BYTES_MAX + 1))),
        _body(compression=b"z", payload=zstd.ZstdCompressor().compress(b"1", zstd.ZstdCompressor.FLUSH_BLOCK)),
    ],
)
def test_a_damaged_or_foreign_body_is_not_read(damaged: bytes):
    """A payload that does not match its header is no value, and is decompressed to no more than its announced size."""
    assert decode_body(damaged, DIGEST) is None


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_a_value_of_another_type_has_a_reason(codec: CodecName):
    """The reason names what was expected; a value of the type has none."""
    body = encode_body(encode_value({"number": "seven"}, codec), codec, DIGEST)

    assert "int" in reason_against(body, dict[str, int])
    assert reason_against(body, dict[str, str]) == ""


def test_the_work_of_decoding_a_body_is_known_before():
    """The size that decides whether a thread does the work is bounded, whatever the header claims."""
    assert decoding_bytes(b"short") == 0
    assert decoding_bytes(_body()) == HEAD.size + 1
    assert decoding_bytes(_body(compression=b"z", size=1_000_000)) == 1_000_000
    assert decoding_bytes(_body(compression=b"z", size=2**60)) == UNPACKED_BYTES_MAX
