"""Templates of tags and patterns: text in which `{name}` stands for an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from string import Formatter
from typing import Any, Final, cast
from uuid import UUID

from tollhouse.cache.key_names import check_tag, pattern_words
from tollhouse.caching.arguments import Arguments
from tollhouse.errors import ConfigurationError, InvalidInput, OutOfBounds

_SHOWN: Final = (str, int, UUID, Decimal, date)
_BITS_MAX: Final = 1024
"""Python refuses to write much longer numbers."""
_CHARACTERS_MAX: Final = 1024
"""What a pattern may have; a tag has less."""
_OF_PATTERNS: Final = frozenset(":*")


class Templates:
    """Texts of one decorator, such as `model:{model_id}`, checked against the parameters of its function."""

    def __init__(self, setting: str, texts: Iterable[str], arguments: Arguments, *, are_patterns: bool = False) -> None:
        if isinstance(texts, str):
            raise ConfigurationError(setting, texts, f"give a tuple of texts: ({texts!r},)")
        self._setting = setting
        self._are_patterns = are_patterns
        self._parsed = [_parsed(setting, text) for text in texts]
        if are_patterns:
            self._check_patterns()
        arguments.check_names(setting, (name for parts in self._parsed for _, name in parts if name is not None))

    def filled(self, bound: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the texts for bound arguments; raise InvalidInput for one that is no plain value.

        A tag that is too long is OutOfBounds.
        """
        texts = tuple("".join(self._part(*part, bound) for part in parts) for parts in self._parsed)
        for text in () if self._are_patterns else texts:
            check_tag(text)
        return texts

    def _check_patterns(self) -> None:
        """Raise ConfigurationError for a pattern that no key can match, whatever the arguments are."""
        for parts in self._parsed:
            text = "".join(before if name is None else f"{before}{name}" for before, name in parts)
            try:
                pattern_words(text)
            except InvalidInput as error:
                raise ConfigurationError(self._setting, text, error.remedy) from error

    def _part(self, text: str, name: str | None, bound: Mapping[str, Any]) -> str:
        return text if name is None else text + self._shown(name, _argument(bound, name))

    def _shown(self, name: str, value: Any) -> str:
        plain = value.value if isinstance(value, Enum) else value
        if not isinstance(plain, _SHOWN):
            remedy = f"it cannot stand in {self._setting}; name a parameter that is text, a number, an id or a date"
            raise InvalidInput(name, f"a {type(value).__name__}", remedy)
        if isinstance(plain, int) and plain.bit_length() > _BITS_MAX:
            raise OutOfBounds(name, plain, f"give a number of at most {_BITS_MAX} bits")
        text = str(plain)
        if len(text) > _CHARACTERS_MAX:
            raise OutOfBounds(name, text, f"give at most {_CHARACTERS_MAX} characters")
        if self._are_patterns and not _OF_PATTERNS.isdisjoint(text):
            raise OutOfBounds(name, text, "in a pattern it must be one word: without ':' and '*'")
        return text


def _parsed(setting: str, text: Any) -> list[tuple[str, str | None]]:
    """Return pairs of text and the name of the parameter behind it."""
    if not isinstance(text, str):
        raise ConfigurationError(setting, text, "give texts, such as 'model:{model_id}'")
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ConfigurationError(setting, text, f"{error}; write a brace that is meant as {{{{ or }}}}") from error
    for _, name, form, conversion in parts:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise ConfigurationError(setting, text, "braces hold the name of a parameter alone, such as {model_id}")
    return [(before, name) for before, name, _, _ in parts]


def _argument(bound: Mapping[str, Any], name: str) -> Any:
    """Return an argument; it may be one of the further keywords of a call."""
    if name in bound:
        return bound[name]
    for value in bound.values():
        if isinstance(value, dict) and name in (further := cast("dict[str, Any]", value)):
            return further[name]
    raise InvalidInput(name, "missing", "the call has to give it by name")
