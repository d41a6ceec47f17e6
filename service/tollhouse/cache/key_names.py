"""The words that callers use, checked and turned into names that reveal nothing.

Keys and tags are the callers' own words, so only digests of them are ever stored; a family is a word that
the operator or the code chose, and stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tollhouse import keys
from tollhouse.cache.envelope import TAGS_MAX
from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.keyring import Keyring

EVERYTHING: Final = "*"
"""The mark that every entry carries."""
UNDER_WAY: Final = "?"
"""The mark that everything carries which is being loaded."""

_KEY_CHARACTERS_MAX: Final = 1024
_TAG_CHARACTERS_MAX: Final = 128
_PATTERN_CHARACTERS_MAX: Final = 256
_FAMILY: Final = r"[a-z][a-z0-9_.:-]{0,79}"
_RESERVED: Final = frozenset({"account", "clock", "lease", "rate", "session"})


class Entry(Struct, frozen=True, kw_only=True):
    """The names of one cached entry; `digest` stands for its family and key."""

    name: str
    lease: str
    digest: str


class Names:
    """Names entries, tags and the clock of one cache, under one prefix and secret.

    Reads and fills use the newest secret; invalidations reach what was cached under any of them.
    """

    def __init__(self, keyring: Keyring, prefix: str) -> None:
        if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", prefix) is None:
            raise ConfigurationError("cache prefix", prefix, "use 1 to 64 of a-z, A-Z, 0-9, '_', '.' and '-'")
        self._keyring = keyring
        self._prefix = prefix
        self._entry = re.compile(rf"{re.escape(prefix)}:({_FAMILY}):\{{0\}}:([0-9a-f]{{32}})")
        self.clock = keys.cache_clock(prefix=prefix)

    def entry(self, family: str, key: str) -> Entry:
        """Name the entry that is read and filled."""
        return self.entries(family, key)[0]

    def entries(self, family: str, key: str) -> tuple[Entry, ...]:
        """Name the entry under every secret, newest first."""
        if re.fullmatch(_FAMILY, family) is None or _reserved(family):
            raise InvalidInput("family", family, "use a lower-case word such as 'ai:langid' that is not reserved")
        if not 1 <= len(key) <= _KEY_CHARACTERS_MAX:
            raise InvalidInput("key", key, f"give 1 to {_KEY_CHARACTERS_MAX} characters")
        return tuple(self._named(family, digest) for digest in self._digests("key", f"{family}\0{key}"))

    def tags(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Give the digests that an entry with these tags carries, sorted, each once."""
        digests = {self.marks(tag)[0] for tag in tags}
        if len(digests) > TAGS_MAX:
            raise InvalidInput("tags", len(digests), f"give at most {TAGS_MAX}")
        return tuple(sorted(digests))

    def marks(self, tag: str) -> tuple[str, ...]:
        """Give the digest of a tag under every secret, newest first."""
        if not 1 <= len(tag) <= _TAG_CHARACTERS_MAX:
            raise InvalidInput("tag", tag, f"give 1 to {_TAG_CHARACTERS_MAX} characters")
        return tuple(digest[:16] for digest in self._digests("tag", tag))

    def match(self, pattern: str) -> str:
        """Give the pattern by which the server finds names; it cannot leave this cache's prefix."""
        if not 1 <= len(pattern) <= _PATTERN_CHARACTERS_MAX:
            raise InvalidInput("pattern", pattern, f"give 1 to {_PATTERN_CHARACTERS_MAX} characters")
        return f"{self._prefix}:{pattern}"

    def found(self, names: Iterable[str]) -> list[Entry]:
        """Pick the entries of this cache out of names that the server found."""
        matches = (self._entry.fullmatch(name) for name in names)
        return [self._named(match[1], match[2]) for match in matches if match and not _reserved(match[1])]

    def _named(self, family: str, digest: str) -> Entry:
        return Entry(
            name=keys.cache_entry(family, digest, prefix=self._prefix),
            lease=keys.cache_lease(digest, prefix=self._prefix),
            digest=digest,
        )

    def _digests(self, kind: str, words: str) -> tuple[str, ...]:
        try:
            return self._keyring.digests("cache", f"{kind}\0{words}")
        except UnicodeEncodeError as error:
            raise InvalidInput(kind, words, "give text without lone surrogates") from error


def _reserved(family: str) -> bool:
    """Say whether names of this family would look like those of another kind of state."""
    return family.partition(":")[0] in _RESERVED
