"""Format of a password filter: a Bloom filter in pages, which a process maps into memory.

    page 0       magic, version, hashes, pages, entries, a checksum of these; zeros up to 4,096 bytes
    page 1..     32,768 bits each: a password sets `hashes` of them, all in the page that its SHA-1 digest names

So a look-up reads one page, and a list in the order of its digests is written from front to back. Digests are SHA-1
because that is what lists of leaked passwords are made of; it need not resist anything here.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

PAGE_BYTES: Final = 4_096
VERSION: Final = 1
MAGIC: Final = b"THPWDS\r\n"
HASHES_MAX: Final = 32

_HEAD: Final = struct.Struct(">8sIIQQ")
_CHECKSUM: Final = struct.Struct(">I")
_SEEDS: Final = struct.Struct(">QQI")
_PAGE_BITS: Final = PAGE_BYTES * 8
_MULTIPLIER: Final = 6_364_136_223_846_793_005
_MASK: Final = (1 << 64) - 1
_TOP: Final = 64 - 15


class FilterHead(Struct, frozen=True, kw_only=True):
    """The first page of a filter: how many bits a password sets, the number of pages, and of entries."""

    hashes: int
    pages: int
    entries: int

    @property
    def file_bytes(self) -> int:
        """The length of the whole file."""
        return (self.pages + 1) * PAGE_BYTES

    def false_positives(self) -> float:
        """Return the share of other passwords that are found all the same, by the formula for full pages."""
        return (1 - math.exp(-self.hashes * self.entries / (self.pages * _PAGE_BITS))) ** self.hashes

    def encode(self) -> bytes:
        """Return the first page."""
        head = _HEAD.pack(MAGIC, VERSION, self.hashes, self.pages, self.entries)
        return (head + _CHECKSUM.pack(zlib.crc32(head))).ljust(PAGE_BYTES, b"\0")


def planned_head(entries: int, false_positives: float) -> FilterHead:
    """Return the head of the smallest filter of so many entries with this share of false positives."""
    bits = entries * math.log(1 / false_positives) / math.log(2) ** 2
    hashes = min(HASHES_MAX, max(1, round(math.log2(1 / false_positives))))
    return FilterHead(hashes=hashes, pages=max(1, math.ceil(bits / _PAGE_BITS)), entries=entries)


def decode_head(page: bytes) -> FilterHead | str:
    """Return the head in the first page, or what is wrong with it."""
    if len(page) < PAGE_BYTES or not page.startswith(MAGIC):
        return "it is no password filter"
    _, version, hashes, pages, entries = _HEAD.unpack_from(page)
    if version != VERSION:
        return f"it is of version {version}, and this release reads version {VERSION}"
    (checksum,) = _CHECKSUM.unpack_from(page, _HEAD.size)
    if checksum != zlib.crc32(page[: _HEAD.size]) or not 1 <= hashes <= HASHES_MAX or pages < 1:
        return "it is damaged"
    return FilterHead(hashes=hashes, pages=pages, entries=entries)


def digest_of(password: str) -> bytes:
    """Return the digest by which lists and filters know a password."""
    return hashlib.sha1(password.encode(), usedforsecurity=False).digest()


def bits_of(digest: bytes, head: FilterHead) -> Iterator[tuple[int, int]]:
    """Yield the byte of the file, and the bit in it, of each bit that belongs to a digest."""
    place, state, step = _SEEDS.unpack(digest)
    page = (1 + (place * head.pages >> 64)) * PAGE_BYTES
    step |= 1
    for _ in range(head.hashes):
        state = (state * _MULTIPLIER + step) & _MASK
        bit = state >> _TOP
        yield page + (bit >> 3), 1 << (bit & 7)
