"""Leaf: one setting, derived from the type that declares it; parses and checks its value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct, ValidationError, convert, structs

from tollhouse.errors import ConfigurationError
from tollhouse.logs import HIDDEN, redact
from tollhouse.suggest import one_of

ANY_NAME = "*"
"""The part of a path that stands for a name chosen by the operator."""

_WORDS = {
    "`int`": "a whole number",
    "`int | null`": "a whole number",
    "`bool`": "true or false",
    "`bool | null`": "true or false",
    "`str`": "text",
    "`str | null`": "text",
    "`bytes`": "text",
}

Check = Callable[[Any, str], object]


class Leaf(Struct, frozen=True, kw_only=True):
    """One setting: its path in the file, type, default and meaning."""

    path: tuple[str, ...]
    type: Any
    default: Any
    meaning: str
    secret: bool
    check: Check | None

    @property
    def name(self) -> str:
        """The name in the file, such as `cache.ttl_s`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it; NAME stands for a name chosen by the operator."""
        return "TOLLHOUSE_" + "_".join(self.path).replace(ANY_NAME, "NAME").upper()

    @property
    def is_required(self) -> bool:
        """Whether a table must have this setting."""
        return self.default is NODEFAULT

    def matches(self, path: tuple[str, ...]) -> bool:
        """Return True if `path` is the path of this setting; any name matches ANY_NAME."""
        return len(path) == len(self.path) and self.within(path)

    def within(self, path: tuple[str, ...]) -> bool:
        """Return True if `path` is the path of this setting, or of a table that contains it."""
        return len(path) <= len(self.path) and all(
            own in (ANY_NAME, given) for own, given in zip(self.path, path, strict=False)
        )

    def shown(self, value: object) -> str:
        """Return `value` as text without secrets."""
        if self.secret:
            return HIDDEN if value else ""
        if isinstance(value, tuple):
            return ", ".join(str(item) for item in cast("tuple[object, ...]", value))
        return "" if value is None else redact(str(value))


def leaves(struct: type[Struct], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Yield every setting that `struct` declares, those of nested tables included."""
    for field in structs.fields(struct):
        below = (*path, field.name)
        kind, metas = _unwrapped(field.type)
        if isinstance(kind, type) and issubclass(kind, Struct):
            yield from leaves(kind, below)
        elif get_origin(kind) is Mapping:
            yield from leaves(get_args(kind)[1], (*below, ANY_NAME))
        else:
            extra = {name: value for meta in metas for name, value in (meta.extra or {}).items()}
            yield Leaf(
                path=below,
                type=field.type,
                default=field.default,
                meaning=next(meta.description for meta in metas if meta.description),
                secret=extra.get("secret", False),
                check=extra.get("check"),
            )


def parse(leaf: Leaf, raw: object, origin: str, *, is_text: bool = False) -> Any:
    """Return the checked value, or raise ConfigurationError that names `origin`.

    A variable `is_text` by nature, and a number or a truth value is read from it. Elsewhere that would be a mistake.
    """
    try:
        value = convert(_from_text(leaf.type, raw), leaf.type, strict=not is_text)
    except ValidationError as error:
        remedy = _remedy(leaf, raw, str(error), is_text=is_text)
        raise ConfigurationError(origin, leaf.shown(raw), remedy) from error
    if leaf.check is not None:
        leaf.check(value, origin)
    return value


def conform(value: Struct) -> None:
    """Check every setting of a struct that code constructed, and convert each to its declared type."""
    for leaf in leaves(type(value)):
        if len(leaf.path) == 1:
            structs.force_setattr(value, leaf.name, parse(leaf, getattr(value, leaf.name), leaf.name))
    for field in structs.fields(type(value)):
        kind, _ = _unwrapped(field.type)
        table = getattr(value, field.name)
        if get_origin(kind) is Mapping:
            _require(Mapping, field.name, table)
            for name, entry in table.items():
                _require(get_args(kind)[1], f"{field.name}.{name}", entry)
        elif isinstance(kind, type) and issubclass(kind, Struct):
            _require(kind, field.name, table)


def _require(kind: type, name: str, value: object) -> None:
    """Raise ConfigurationError for what is no table of this kind: code gives tables as structs, only files as text."""
    if not isinstance(value, kind):
        raise ConfigurationError(name, value, f"give {kind.__name__}")


def _unwrapped(annotation: Any) -> tuple[Any, tuple[Meta, ...]]:
    metas = getattr(annotation, "__metadata__", None)
    return (annotation, ()) if metas is None else (get_args(annotation)[0], metas)


def _from_text(annotation: Any, raw: object) -> object:
    """Convert text to what msgspec can convert to the type: one text to a list, and each to bytes, not from base64."""
    kind, _ = _unwrapped(annotation)
    if get_origin(kind) is Literal and isinstance(raw, str):
        return raw.lower()
    if get_origin(kind) is not tuple:
        return raw
    parts: object = [part for part in re.split(r"[,\s]+", raw) if part] if isinstance(raw, str) else raw
    item, _ = _unwrapped(get_args(kind)[0])
    if item is not bytes or not isinstance(parts, list | tuple):
        return parts
    return [part.encode() if isinstance(part, str) else part for part in cast("Sequence[object]", parts)]


def _remedy(leaf: Leaf, raw: object, problem: str, *, is_text: bool) -> str:
    """Return what is expected: the word that may be meant, or msgspec's message in plain words, and the meaning."""
    kind, _ = _unwrapped(leaf.type)
    if get_origin(kind) is Literal:
        return f"{one_of(raw, get_args(kind))}; {leaf.meaning}"
    if "matching regex" in problem:
        return leaf.meaning
    without = ", without quotes" if "got `str`" in problem and not is_text else ""
    problem = re.sub(r"(, got| - at) .*$", "", problem)
    for code, word in _WORDS.items():
        problem = problem.replace(code, word)
    return f"{problem[0].lower()}{problem[1:]}{without}; {leaf.meaning}"
