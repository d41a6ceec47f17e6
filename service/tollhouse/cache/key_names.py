"""Key names of cache entries: validated, and with digests in place of the caller's keys and tags.

A key is text, words separated by colons. If words follow the first, and that looks like a word of a program, it stays
readable, and each further word is a digest of its own, the same at any position: so patterns of whole words find
entries. Any other key is one digest, which is longer than that of a word. Tags are digests, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final, cast

from msgspec import Struct

from tollhouse.cache.envelope import TAGS_MAX
from tollhouse.errors import ConfigurationError, InvalidInput, OutOfBounds
from tollhouse.keyring import Keyring
from tollhouse.keys import UNNAMED, CacheNames, Namespace

ALL: Final = "*"
"""The pseudo-tag of every entry."""
IN_PROGRESS: Final = "?"
"""The pseudo-tag of every load in progress."""
UNREADABLE: Final = "cache"
"""The first word of the name of a key that has no readable one."""

_KEY_CHARACTERS_MAX: Final = 1024
_TAG_CHARACTERS_MAX: Final = 128
_TAGS_GIVEN_MAX: Final = 1_000
"""How many tags are looked at, those that are given twice too."""
_PATTERN_CHARACTERS_MAX: Final = 1024
_WORDS_MAX: Final = 16
"""Further colons of a key belong to its last word."""
_WORDS_KEPT: Final = 4_096
"""How many words have their digests kept: those of a program come again and again."""
_KEYS_KEPT: Final = 4_096
"""How many keys have their names kept: those of what is read often."""
_WORD_DIGITS: Final = 20
_FIRST: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_WORD: Final = rf"[0-9a-f]{{{_WORD_DIGITS}}}"
_TAIL: Final = rf"{_WORD}(?::{_WORD})*"

Names = tuple[str, str, str]
"""The names of an entry, of its lease and of its permit."""


class EntryKeys(Struct, frozen=True, kw_only=True):
    """The names of one cache entry, its lease and its permit; `digest` stands for its whole key.

    It is counted under its `family`, the first word of the key if that is readable.
    """

    entry: str
    lease: str
    permit: str
    digest: str
    family: str

    @property
    def names(self) -> Names:
        """What an invalidation removes."""
        return self.entry, self.lease, self.permit


class KeyPattern(Struct, frozen=True, kw_only=True):
    """What SCAN is asked for, and which of the names that it finds are meant: first word and digests are groups."""

    match: str
    name: re.Pattern[str]
    layout: CacheNames

    def among(self, names: Iterable[str]) -> list[Names]:
        """Return the names of the entries that are meant, with those of their leases and permits."""
        found = (self.name.fullmatch(name) for name in names)
        return [_names(self.layout, match[1], match[2]) for match in found if match]


class KeyNames:
    """The names of entries, tags and the clock of one cache, under one prefix, namespace and keyring.

    Reads and fills use the newest secret; invalidations cover entries under every secret.
    """

    def __init__(self, keyring: Keyring, prefix: str, namespace: Namespace = UNNAMED) -> None:
        if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", prefix) is None:
            raise ConfigurationError("cache prefix", prefix, "use 1 to 64 of a-z, A-Z, 0-9, '_', '.' and '-'")
        self._keyring = keyring
        self._word_digests = lru_cache(_WORDS_KEPT)(self._digests_of_word)
        self._entries = lru_cache(_KEYS_KEPT)(self._entries_of)
        self._layout = namespace.cache(prefix)
        self.clock = self._layout.clock
        self.families = self._layout.families
        whole = re.escape(self._layout.entry(UNREADABLE, ""))
        self.everything = self._pattern("*", "*", _FIRST.pattern, rf"{_TAIL}|(?<={whole})[0-9a-f]{{32}}")
        """The pattern of every entry of this cache."""

    def entries(self, key: str) -> tuple[EntryKeys, ...]:
        """Return the names of the entry under every secret; the first, under the newest, are read and filled."""
        if type(key) is not str:
            check_key(key)
        return self._entries(key)

    def entry_tags(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the digests of an entry's tags under the newest secret, sorted."""
        return tuple(sorted(self._digests("tag", tag)[0][:16] for tag in checked_tags(tags)))

    def tag_digests(self, tag: str) -> tuple[str, ...]:
        """Return the digest of a tag under every secret, the newest first."""
        check_tag(tag)
        return tuple(digest[:16] for digest in self._digests("tag", tag))

    def patterns(self, pattern: str) -> tuple[KeyPattern, ...]:
        """Return what to scan for, for every secret; empty if the pattern is a key, which has no `*` as a word.

        `*` stands for one word, and at the end for one or more; alone it stands for every key.
        """
        first, *rest = words = pattern_words(pattern)
        if "*" not in words:
            return ()
        if words == ["*"]:
            return (self.everything,)
        return tuple(dict.fromkeys(self._pattern_of(first, rest, secret) for secret in range(self._secrets)))

    def queue(self, name: str) -> tuple[str, str, str]:
        """Return the names of a queue of writes, of the consumer that has it, and of its writes that failed."""
        return self._layout.queue(name)

    @property
    def _secrets(self) -> int:
        return max(len(self._keyring.secrets), 1)

    def _pattern_of(self, first: str, rest: list[str], secret: int) -> KeyPattern:
        digests = [None if word == "*" else self._word_digests(word)[secret] for word in rest]
        globs = [digest or "?" * _WORD_DIGITS for digest in digests]
        tails = [digest or _WORD for digest in digests]
        if digests[-1] is None:
            globs[-1], tails[-1] = "*", _TAIL
        words = _FIRST.pattern if first == "*" else re.escape(first)
        return self._pattern(first, ":".join(globs), words, ":".join(tails))

    def _pattern(self, word_glob: str, tail_glob: str, word: str, tail: str) -> KeyPattern:
        scope, tag = re.escape(self._layout.scope), re.escape(self._layout.tag)
        match = self._layout.entry(word_glob, tail_glob)
        name = re.compile(rf"{scope}({word}){tag}:({tail})")
        return KeyPattern(match=match, name=name, layout=self._layout)

    def _entries_of(self, key: str) -> tuple[EntryKeys, ...]:
        check_key(key)
        digests = self._digests("key", key)
        first, *rest = _words(key)
        if not _is_readable(first, rest):
            return tuple(self._entry_keys(UNREADABLE, digest, digest) for digest in digests)
        tails = map(":".join, zip(*map(self._word_digests, rest), strict=True))
        return tuple(self._entry_keys(first, *each) for each in zip(tails, digests, strict=True))

    def _entry_keys(self, word: str, tail: str, digest: str) -> EntryKeys:
        entry, lease, permit = _names(self._layout, word, tail)
        return EntryKeys(entry=entry, lease=lease, permit=permit, digest=digest, family=word)

    def _digests_of_word(self, word: str) -> tuple[str, ...]:
        return tuple(digest[:_WORD_DIGITS] for digest in self._digests("word", word))

    def _digests(self, kind: str, words: str) -> tuple[str, ...]:
        return self._keyring.digests("cache", f"{kind}\0{words}")


def check_key(key: object) -> None:
    """Raise InvalidInput for what is no key; OutOfBounds if it is text."""
    _check_text("key", key, _KEY_CHARACTERS_MAX)


def check_tag(tag: object) -> None:
    """Raise InvalidInput for what is no tag; OutOfBounds if it is text."""
    _check_text("tag", tag, _TAG_CHARACTERS_MAX)


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return each tag of an entry once; raise InvalidInput for what is no tag, and for too many."""
    if isinstance(tags, str | bytes) or not isinstance(cast("object", tags), Iterable):
        raise InvalidInput("tags", tags, "give a list of tags: the characters of a text are none")
    given = tuple(islice(tags, _TAGS_GIVEN_MAX + 1))
    for tag in given:
        check_tag(tag)
    unique = tuple(dict.fromkeys(given))
    if len(unique) > TAGS_MAX or len(given) > _TAGS_GIVEN_MAX:
        raise InvalidInput("tags", len(unique), f"give at most {TAGS_MAX}")
    return unique


def _names(layout: CacheNames, word: str, tail: str) -> Names:
    return layout.entry(word, tail), layout.lease(word, tail), layout.permit(word, tail)


def pattern_words(pattern: str) -> list[str]:
    """Return the words of a pattern; raise InvalidInput for a part of a word, of which names have no digest."""
    _check_text("pattern", pattern, _PATTERN_CHARACTERS_MAX)
    words = _words(pattern)
    if any("*" in word and word != "*" for word in words):
        raise InvalidInput("pattern", pattern, "give whole words or '*', such as 'model:metrics:*', or use tags")
    if "*" in words and words[0] != "*" and not _FIRST.fullmatch(words[0]):
        raise InvalidInput("pattern", pattern, "begin with a word of a-z, 0-9, '_' and '-', or use tags")
    return words


def _words(key: str) -> list[str]:
    return key.split(":", _WORDS_MAX - 1)


def _is_readable(first: str, rest: list[str]) -> bool:
    return bool(rest) and _FIRST.fullmatch(first) is not None


def _check_text(field: str, given: object, characters_max: int) -> None:
    if not isinstance(given, str):
        kind = type(given).__name__
        many = f", or each of several as *{field}s" if kind in ("list", "tuple", "set") else ""
        raise InvalidInput(field, kind, f"give text, such as str({field}){many}")
    if not 1 <= len(given) <= characters_max:
        raise OutOfBounds(field, given, f"give 1 to {characters_max} characters")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise OutOfBounds(field, given, "give text without lone surrogates") from error
