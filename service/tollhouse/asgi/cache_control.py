"""What a client demands of a cache: the directives of Cache-Control in a request (RFC 9111, 5.2.1).

`max-stale` and `no-transform` are not read: no value is served after its lifetime, and none is transformed. A directive
that is not known is ignored, and so is an element that cannot be read. In doubt the stricter meaning counts: of two
values the stricter one, and one that is no number accepts no stored value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

_SECONDS_MAX: Final = 2**31
"""Larger values mean as much (RFC 9111, 1.2.2)."""
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_VALUE: Final = rb"[ \t]*=[ \t]*(?:(?P<token>%b)|\"(?P<quoted>(?:[^\"\\]|\\.)*+)\")" % _TOKEN
_ELEMENT: Final = re.compile(rb"[ \t]*(?P<name>%b)(?:%b)?+[ \t]*(?:,|\Z)|[^,]*+(?:,|\Z)" % (_TOKEN, _VALUE))


class CacheControl(Struct, frozen=True, kw_only=True):
    """The directives of a request.

    `no_store`: store nothing of this request and its response. `no_cache`: load anew. `only_if_cached`: answer from
    the cache, or with 504. `max_age_s`: accept no older value. `min_fresh_s`: accept no value that lives shorter.
    """

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: int | None = None
    min_fresh_s: int = 0

    def accepts(self, age_ms: int, ttl_ms: int) -> bool:
        """Return True if a stored value of this age, and with this lifetime left, answers the request."""
        if self.no_cache or (self.max_age_s is not None and age_ms > self.max_age_s * 1000):
            return False
        return ttl_ms >= self.min_fresh_s * 1000


def cache_control(headers: Iterable[tuple[bytes, bytes]]) -> CacheControl:
    """Return the directives of all Cache-Control fields of a request."""
    given: dict[bytes, list[bytes]] = {}
    for field, text in headers:
        if field.lower() == b"cache-control":
            for element in _ELEMENT.finditer(text):
                if element["name"] is not None:
                    value = element["token"] or element["quoted"] or b""
                    given.setdefault(element["name"].lower(), []).append(value)
    return CacheControl(
        no_store=b"no-store" in given,
        no_cache=b"no-cache" in given,
        only_if_cached=b"only-if-cached" in given,
        max_age_s=min((_seconds(value, 0) for value in given.get(b"max-age", ())), default=None),
        min_fresh_s=max((_seconds(value, _SECONDS_MAX) for value in given.get(b"min-fresh", ())), default=0),
    )


def _seconds(text: bytes, otherwise: int) -> int:
    if not text.isdigit():
        return otherwise
    digits = text.lstrip(b"0")
    return min(int(digits or b"0"), _SECONDS_MAX) if len(digits) <= 10 else _SECONDS_MAX
