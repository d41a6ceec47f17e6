"""Cached values as bytes: msgpack or JSON, compressed where that pays, bound to the key they belong to.

    layout 1 | codec 1 | compression 1 | bytes when unpacked 8 | key digest 16 | payload

A body says itself how it was written, so that readers understand every codec whatever they write.
Nothing stored can run code, and nothing unpacks to more than its header admits to.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

if sys.version_info >= (3, 14):  # pragma: no cover - the tests' coverage is measured on 3.11
    from compression import zstd
else:
    from backports import zstd

CodecName = Literal["msgpack", "json"]
"""msgpack is smaller and knows bytes; JSON can be read with the server's own tools while it is short."""

COMPRESS_BYTES_MIN: Final = 4 * 1024
"""Shorter values are stored as they are."""
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Larger values are not compressed, and no stored value is unpacked beyond this."""

_HEAD: Final = struct.Struct(">cccQ16s")
_LAYOUT: Final = b"1"
_PLAIN, _ZSTD = b"-", b"z"
_LEVEL: Final = 3

_IDS: Final[dict[CodecName, bytes]] = {"msgpack": b"m", "json": b"j"}
_ENCODERS: Final = {"msgpack": msgspec.msgpack.Encoder(), "json": msgspec.json.Encoder()}
_DECODERS: Final = {b"m": msgspec.msgpack.Decoder(), b"j": msgspec.json.Decoder()}

UNSUPPORTED: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What `pack` raises for a value that the codec cannot write."""


class Unsealed(Struct, frozen=True, kw_only=True):
    """A value that was read; wrapped, because None, 0 and "" are values too."""

    value: Any


def pack(value: Any, codec: CodecName) -> bytes:
    """Write a value; raises one of `UNSUPPORTED` where the codec has no form for it."""
    return _ENCODERS[codec].encode(value)


def seal(packed: bytes, codec: CodecName, digest: bytes) -> bytes:
    """Make the body of the entry that `digest` names, compressed if that saves a tenth."""
    compression, payload = _PLAIN, packed
    if COMPRESS_BYTES_MIN <= len(packed) <= UNPACKED_BYTES_MAX:
        smaller = zstd.compress(packed, _LEVEL)
        if len(smaller) * 10 <= len(packed) * 9:
            compression, payload = _ZSTD, smaller
    return _HEAD.pack(_LAYOUT, _IDS[codec], compression, len(packed), digest) + payload


def unsealed_bytes(body: bytes) -> int:
    """Tell how many bytes reading `body` will handle, for those who must not block meanwhile."""
    if len(body) < _HEAD.size:
        return 0
    claimed = _HEAD.unpack_from(body)[3]
    return max(len(body), min(claimed, UNPACKED_BYTES_MAX))


def unseal(body: bytes, digest: bytes) -> Unsealed | None:
    """Read a body; None if it belongs to another key, is damaged, or was written by someone else."""
    if len(body) < _HEAD.size:
        return None
    layout, codec, compression, unpacked_bytes, owner = _HEAD.unpack_from(body)
    if layout != _LAYOUT or codec not in _DECODERS or owner != digest:
        return None
    packed = _unpacked(body[_HEAD.size :], compression, unpacked_bytes)
    if packed is None:
        return None
    try:
        return Unsealed(value=_DECODERS[codec].decode(packed))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _unpacked(payload: bytes, compression: bytes, unpacked_bytes: int) -> bytes | None:
    """Undo the compression; None unless exactly the announced bytes come out."""
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
