"""The envelope of a cached body: a header in fixed-width ASCII, which any Lua can read with `string.sub`.

    R1 | stored_ms 13 | fresh_until_ms 13 | load_ms 8 | epoch 32 | sequence 12 | tags 2 | 16 for each tag | body

`R1` names this layout; any other is a miss. `lua/lib/envelope_status.lua` is the other reader, and `lua/cache/set.lua`
the other writer of what stands before the tags.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

TAGS_MAX: Final = 64
"""The most tags of one entry; the header has room for 99."""

HEADER_BYTES_MAX: Final = 1_700
"""Room for the longest header, which has 99 tags, and for the head of the body after it."""

HEAD_BYTES: Final = 80
"""What stands before the number of tags."""

_MAGIC: Final = b"R1"
_TAGS_AT: Final = 82
_TAG_BYTES: Final = 16
_LOAD_MS_MAX: Final = 99_999_999


class Envelope(Struct, frozen=True, kw_only=True):
    """The header of a cached body; times are the server's.

    `epoch` and `sequence` are the clock at the time of the lease, before the load began: any later invalidation
    applies to this entry.
    """

    stored_ms: int
    fresh_until_ms: int
    load_ms: int
    epoch: str
    sequence: int
    tags: tuple[str, ...]


def encode(header: Envelope, body: bytes) -> bytes:
    """Return the bytes of the header followed by `body`."""
    assert len(header.epoch) == 32, header.epoch
    times = f"{header.stored_ms:013d}{header.fresh_until_ms:013d}{min(header.load_ms, _LOAD_MS_MAX):08d}"
    return _MAGIC + f"{times}{header.epoch}{header.sequence:012d}".encode() + encode_tail(header.tags, body)


def encode_tail(tags: tuple[str, ...], body: bytes) -> bytes:
    """Return what follows the first `HEAD_BYTES` of an envelope."""
    assert len(tags) <= TAGS_MAX, tags
    assert all(len(tag) == _TAG_BYTES for tag in tags), tags
    return f"{len(tags):02d}{''.join(tags)}".encode() + body


def decode_times(data: bytes) -> tuple[int, int, int, bytes]:
    """Return when an envelope was stored, until when it is fresh, how long its load took, all in ms, and its body."""
    assert data.startswith(_MAGIC), data[:2]
    body_at = _TAGS_AT + _TAG_BYTES * int(data[80:82])
    return int(data[2:15]), int(data[15:28]), int(data[28:36]), data[body_at:]


def decode(data: bytes) -> tuple[Envelope, bytes]:
    """Return the header and the body of an envelope, which the store's script has found readable."""
    stored_ms, fresh_until_ms, load_ms, body = decode_times(data)
    tags = data[_TAGS_AT : len(data) - len(body)].decode()
    header = Envelope(
        stored_ms=stored_ms,
        fresh_until_ms=fresh_until_ms,
        load_ms=load_ms,
        epoch=data[36:68].decode(),
        sequence=int(data[68:80]),
        tags=tuple(tags[at : at + _TAG_BYTES] for at in range(0, len(tags), _TAG_BYTES)),
    )
    return header, body
