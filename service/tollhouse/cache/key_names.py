"""Key names of cache entries: validated, and with digests in place of the caller's keys and tags.

Keys and tags are the caller's data, so only digests of them are stored. A family is chosen by the operator or the
code, and stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, cast

from msgspec import Struct

from tollhouse.cache.envelope import TAGS_MAX
from tollhouse.errors import ConfigurationError, InvalidInput, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, Namespace

ALL: Final = "*"
"""The pseudo-tag of every entry."""
IN_PROGRESS: Final = "?"
"""The pseudo-tag of every load in progress."""

_KEY_CHARACTERS_MAX: Final = 1024
_TAG_CHARACTERS_MAX: Final = 128
_PATTERN_CHARACTERS_MAX: Final = 256
_FAMILY: Final = r"[a-z][a-z0-9_.:-]{0,79}"
_RESERVED: Final = frozenset({"account", "clock", "lease", "rate", "session"})


class EntryKeys(Struct, frozen=True, kw_only=True):
    """The key names of one cache entry and of its lease; `digest` stands for its family and key."""

    entry: str
    lease: str
    digest: str


class KeyNames:
    """The names of entries, tags and the clock of one cache, under one prefix, namespace and keyring.

    Reads and fills use the newest secret; invalidations cover entries under every secret.
    """

    def __init__(self, keyring: Keyring, prefix: str, namespace: Namespace = UNNAMED) -> None:
        if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", prefix) is None:
            raise ConfigurationError("cache prefix", prefix, "use 1 to 64 of a-z, A-Z, 0-9, '_', '.' and '-'")
        self._keyring = keyring
        self._names = names = namespace.cache(prefix)
        before, tag = re.escape(names.scope), re.escape(names.tag)
        self._entry_name = re.compile(rf"{before}({_FAMILY}){tag}:([0-9a-f]{{32}})")
        self.clock = names.clock

    def entries(self, family: str, key: str) -> tuple[EntryKeys, ...]:
        """Return the names of the entry under every secret; the first, under the newest, are read and filled."""
        require_type("family", family, str, "give text")
        if re.fullmatch(_FAMILY, family) is None or _reserved(family):
            raise InvalidInput("family", family, "use a lower-case word such as 'ai:langid' that is not reserved")
        _check_text("key", key, _KEY_CHARACTERS_MAX)
        return tuple(self._entry_keys(family, digest) for digest in self._digests("key", f"{family}\0{key}"))

    def entry_tags(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the digests of an entry's tags under the newest secret, sorted and unique."""
        if isinstance(tags, str | bytes) or not isinstance(cast("object", tags), Iterable):
            raise InvalidInput("tags", tags, "give a list of tags: the characters of a text are none")
        digests = {self.tag_digests(tag)[0] for tag in tags}
        if len(digests) > TAGS_MAX:
            raise InvalidInput("tags", len(digests), f"give at most {TAGS_MAX}")
        return tuple(sorted(digests))

    def tag_digests(self, tag: str) -> tuple[str, ...]:
        """Return the digest of a tag under every secret, the newest first."""
        _check_text("tag", tag, _TAG_CHARACTERS_MAX)
        return tuple(digest[:16] for digest in self._digests("tag", tag))

    def scan_pattern(self, pattern: str) -> str:
        """Return the pattern for SCAN; it matches nothing outside this cache's prefix and namespace."""
        _check_text("pattern", pattern, _PATTERN_CHARACTERS_MAX)
        return f"{self._names.scope}{pattern}"

    def entries_among(self, names: Iterable[str]) -> list[EntryKeys]:
        """Return the entries of this cache among key names that SCAN returned."""
        matches = (self._entry_name.fullmatch(name) for name in names)
        return [self._entry_keys(match[1], match[2]) for match in matches if match and not _reserved(match[1])]

    def _entry_keys(self, family: str, digest: str) -> EntryKeys:
        return EntryKeys(
            entry=self._names.entry(family, digest),
            lease=self._names.lease(digest),
            digest=digest,
        )

    def _digests(self, kind: str, words: str) -> tuple[str, ...]:
        try:
            return self._keyring.digests("cache", f"{kind}\0{words}")
        except UnicodeEncodeError as error:
            raise InvalidInput(kind, words, "give text without lone surrogates") from error


def _check_text(field: str, given: object, characters_max: int) -> None:
    if not isinstance(given, str):
        raise InvalidInput(field, type(given).__name__, "give text, such as str(key)")
    if not 1 <= len(given) <= characters_max:
        raise InvalidInput(field, given, f"give 1 to {characters_max} characters")


def _reserved(family: str) -> bool:
    """Return True if names of this family would look like those of another kind of state."""
    return family.partition(":")[0] in _RESERVED
