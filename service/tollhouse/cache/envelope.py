"""The header in front of every cached body: fixed-width ASCII, so that any Lua can read it with `string.sub`.

    R1 | stored_ms 13 | fresh_until_ms 13 | load_ms 8 | epoch 32 | sequence 12 | tags 2 | 16 for each tag | body

`R1` names this layout; a reader that meets another takes it for a miss. `lua/lib/frame_status.lua` is the other reader.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

TAGS_MAX: Final = 64
"""Tags on one entry; the header has room for 99."""

_MAGIC: Final = b"R1"
_TAGS_AT: Final = 82
_TAG_BYTES: Final = 16
_LOAD_MS_MAX: Final = 99_999_999


class Frame(Struct, frozen=True, kw_only=True):
    """What is known of a cached body; times are the server's.

    `epoch` and `sequence` were given with the lease, so before the load began: whatever was
    invalidated later, this entry has not seen.
    """

    stored_ms: int
    fresh_until_ms: int
    load_ms: int
    epoch: str
    sequence: int
    tags: tuple[str, ...]


def encode(frame: Frame, body: bytes) -> bytes:
    """Write the header in front of `body`."""
    assert len(frame.epoch) == 32, frame.epoch
    assert len(frame.tags) <= TAGS_MAX, frame.tags
    assert all(len(tag) == _TAG_BYTES for tag in frame.tags), frame.tags
    times = f"{frame.stored_ms:013d}{frame.fresh_until_ms:013d}{min(frame.load_ms, _LOAD_MS_MAX):08d}"
    state = f"{frame.epoch}{frame.sequence:012d}{len(frame.tags):02d}{''.join(frame.tags)}"
    return _MAGIC + times.encode() + state.encode() + body


def decode(data: bytes) -> tuple[Frame, bytes]:
    """Read a frame that the store's script has found readable, and give the body behind it."""
    assert data.startswith(_MAGIC), data[:2]
    body_at = _TAGS_AT + _TAG_BYTES * int(data[80:82])
    tags = data[_TAGS_AT:body_at].decode()
    frame = Frame(
        stored_ms=int(data[2:15]),
        fresh_until_ms=int(data[15:28]),
        load_ms=int(data[28:36]),
        epoch=data[36:68].decode(),
        sequence=int(data[68:80]),
        tags=tuple(tags[at : at + _TAG_BYTES] for at in range(0, len(tags), _TAG_BYTES)),
    )
    return frame, data[body_at:]
