"""The body format of cached values: msgpack or JSON, compressed if that pays, bound to the key they belong to.

    layout 1 | codec 1 | compression 1 | bytes when unpacked 8 | key digest 16 | payload

A body names its own codec and compression, so every reader understands every body, whichever codec it writes itself.
Decoding cannot run code, and decompresses to no more than the size in the header.
"""

from __future__ import annotations

import struct
import sys
from functools import lru_cache
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct

from tollhouse.errors import InvalidInput, brief
from tollhouse.runtime.garbage import decode_undisturbed

if sys.version_info >= (3, 14):  # pragma: no cover - the tests' coverage is measured on 3.11
    from compression import zstd
else:
    from backports import zstd

CodecName = Literal["msgpack", "json"]
"""msgpack is smaller and has bytes; JSON can be read with the server's own tools while it is not compressed."""

COMPRESS_BYTES_MIN: Final = 4 * 1024
"""Shorter values are not compressed."""
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Larger values are not compressed, and no stored value is decompressed beyond this."""

_HEAD: Final = struct.Struct(">cccQ16s")
_LAYOUT: Final = b"1"
_PLAIN, _ZSTD = b"-", b"z"
_LEVEL: Final = 3

_IDS: Final[dict[CodecName, bytes]] = {"msgpack": b"m", "json": b"j"}
_CODECS: Final = frozenset(_IDS.values())
_ENCODERS: Final = {"msgpack": msgspec.msgpack.Encoder(), "json": msgspec.json.Encoder()}
_DECODERS_MAX: Final = 256

UNSUPPORTED: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""The exceptions of `encode_value` for a value that the codec cannot encode."""


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class DecodedBody(Struct, frozen=True, kw_only=True):
    """A decoded value; wrapped, because None, 0 and "" are values too."""

    value: Any


def require_codec(codec: CodecName | None) -> CodecName | None:
    """Return a caller's codec, None for that of the cache; raise InvalidInput for any other value."""
    if codec is None or (isinstance(cast("object", codec), str) and codec in _IDS):
        return codec
    raise InvalidInput("codec", codec, "give 'json' or 'msgpack'")


def encode_value(value: Any, codec: CodecName) -> bytes:
    """Return a value as bytes; raises one of `UNSUPPORTED` if the codec cannot encode it."""
    return _ENCODERS[codec].encode(value)


def encode_body(packed: bytes, codec: CodecName, digest: bytes) -> bytes:
    """Return the body for the entry of `digest`, compressed if that saves a tenth."""
    compression, payload = _PLAIN, packed
    if COMPRESS_BYTES_MIN <= len(packed) <= UNPACKED_BYTES_MAX:
        smaller = zstd.compress(packed, _LEVEL)
        if len(smaller) * 10 <= len(packed) * 9:
            compression, payload = _ZSTD, smaller
    return _HEAD.pack(_LAYOUT, _IDS[codec], compression, len(packed), digest) + payload


def decoding_bytes(body: bytes) -> int:
    """Return how many bytes decoding `body` will process, so that the caller can choose a thread for it."""
    if len(body) < _HEAD.size:
        return 0
    return max(len(body), min(unpacked_bytes(body), UNPACKED_BYTES_MAX))


def unpacked_bytes(body: bytes) -> int:
    """Return the size of the value in a body, as it was encoded and before it was compressed."""
    return int.from_bytes(body[3:11], "big")


def decode_body(body: bytes, digest: bytes, type: Any = Any) -> DecodedBody | None:  # noqa: A002 - as in msgspec
    """Return the value of a body as `type`.

    Return None if it belongs to another key, is damaged, is not in our format, or has a value of another type.
    """
    if len(body) < _HEAD.size:
        return None
    layout, codec, compression, unpacked_bytes, owner = _HEAD.unpack_from(body)
    if layout != _LAYOUT or codec not in _CODECS or owner != digest:
        return None
    packed = _unpacked(body[_HEAD.size :], compression, unpacked_bytes)
    if packed is None:
        return None
    try:
        return DecodedBody(value=decode_undisturbed(decoder(codec, type).decode, packed))
    except _UNREADABLE:
        return None


def reason_against(body: bytes, type: Any) -> str:  # noqa: A002 - as in msgspec
    """Return why the value of a body that this process has encoded is not of a type; empty if it is."""
    _, codec, compression, unpacked_bytes, _ = _HEAD.unpack_from(body)
    try:
        decoder(codec, type).decode(_unpacked(body[_HEAD.size :], compression, unpacked_bytes) or b"")
    except _UNREADABLE as error:
        return brief(error)
    return ""


@lru_cache(maxsize=_DECODERS_MAX)
def decoder(codec: bytes, type: Any) -> msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]:  # noqa: A002 - as in msgspec
    """Return the decoder of a codec for values of a type; raises TypeError for a type that no value can have."""
    return msgspec.msgpack.Decoder(type) if codec == b"m" else msgspec.json.Decoder(type)


def _unpacked(payload: bytes, compression: bytes, unpacked_bytes: int) -> bytes | None:
    """Return the decompressed payload; None unless its size is exactly that in the header."""
    if compression == _PLAIN:
        return payload if len(payload) == unpacked_bytes else None
    if compression != _ZSTD or unpacked_bytes > UNPACKED_BYTES_MAX:
        return None
    reader = zstd.ZstdDecompressor()
    try:
        packed = reader.decompress(payload, max_length=unpacked_bytes + 1)
    except zstd.ZstdError:
        return None
    return packed if reader.eof and len(packed) == unpacked_bytes else None
