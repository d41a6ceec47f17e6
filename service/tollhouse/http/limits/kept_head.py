"""The head of the last request that a connection was accepted with: an equal one needs no second look.

Clients send the same head with each request of a connection, but for the length of the body. The parser has read both;
what is compared are targets and headers, so one reader alone decides where a head ends.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

from tollhouse.asgi.types import Headers

_LENGTH: Final = b"content-length"


class KeptHead:
    """A target and headers, no two of one name; `credential` is the name of the one that is compared in constant time.

    A proxy may send requests of several clients over one connection: how long a comparison takes must not tell one of
    them the key of another.
    """

    __slots__ = ("_credential", "_credential_at", "_headers", "_length_at", "_target")

    def __init__(self, target: bytes, headers: Headers, credential: bytes) -> None:
        names = [name for name, _ in headers]
        self._target = target
        self._headers = list(headers)
        self._length_at, self._credential_at = names.index(_LENGTH), names.index(credential)
        self._credential = headers[self._credential_at]

    def length_of(self, target: bytes, headers: Headers) -> bytes | None:
        """Return the Content-Length of a head that is else the same, or None if it is another head."""
        kept, credential_at, length_at = self._headers, self._credential_at, self._length_at
        if target != self._target or len(headers) != len(kept):
            return None
        length_name, length = kept[length_at] = headers[length_at]  # these two are compared apart from the others
        name, credential = kept[credential_at] = headers[credential_at]
        if headers != kept or length_name != _LENGTH or name != self._credential[0]:
            return None
        return length if compare_digest(credential, self._credential[1]) else None
