"""Route patterns: match a request by method and path, before any framework has routed it.

A pattern is a path, with the methods in front that it is for: `/health`, `POST /login`, `GET|PUT /users/{id}`,
`/api/*`. `{name}` stands for one part of a path, `*` at the end for all the rest. Without methods a pattern holds for
all of them and for websockets, which `WS` names alone; `GET` holds for `HEAD` too. One slash at the end of a request's
path makes no difference: many frameworks serve both. The first pattern that matches wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from tollhouse.asgi.types import Scope
from tollhouse.errors import ConfigurationError

T = TypeVar("T")

_PATTERN: Final = re.compile(r"(?:([A-Z]+(?:\|[A-Z]+)*) +)?(/\S*)")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
_REMEDY: Final = "write it like `POST /login`, `/users/{id}` or `/api/*`"


class RoutePatterns(Generic[T]):
    """Patterns with a value each, compiled to one expression: a match takes one step however many there are."""

    def __init__(self, patterns: Mapping[str, T]) -> None:
        self._values = tuple(patterns.values())
        self._parameters = tuple(tuple(_PARAMETER.findall(pattern)) for pattern in patterns)
        compiled = (f"(?P<_{i}>{_expression(i, pattern)})" for i, pattern in enumerate(patterns))
        self._expression = re.compile("|".join(compiled), re.DOTALL)

    def find(self, scope: Scope) -> tuple[T, Mapping[str, str]] | None:
        """Return the value of the first pattern that matches, and its path parameters; None if none matches."""
        method = scope["method"] if scope["type"] == "http" else "WS"
        match = self._expression.fullmatch(f"{method} {_path(scope)}")
        if match is None or match.lastgroup is None:
            return None
        number = int(match.lastgroup[1:])
        return self._values[number], {name: match[f"_{number}_{name}"] for name in self._parameters[number]}


def _expression(number: int, pattern: str) -> str:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        raise ConfigurationError("routes", pattern, _REMEDY)
    methods, path = found.groups()
    return f"{_methods(methods)} {_rest(number, pattern, path)}"


def _methods(methods: str | None) -> str:
    if methods is None:
        return r"\S+"
    named = set(methods.split("|"))
    return f"(?:{'|'.join(sorted(named | {'HEAD'} if 'GET' in named else named))})"


def _rest(number: int, pattern: str, path: str) -> str:
    names = _PARAMETER.findall(path)
    body, star, _ = path.partition("*")
    between = _PARAMETER.split(body)[::2]
    if path.count("*") > 1 or (star and not path.endswith("/*")) or len(set(names)) < len(names):
        raise ConfigurationError("routes", pattern, f"{_REMEDY}; `*` comes last, and each name once")
    if any(brace in part for part in between for brace in "{}"):
        raise ConfigurationError("routes", pattern, f"{_REMEDY}; a name in braces is all there is to say of a part")
    texts = [re.escape(part) for part in between]
    texts[-1] = texts[-1] if star else texts[-1].removesuffix("/")
    groups = [f"(?P<_{number}_{name}>[^/]+)" for name in names]
    joined = "".join(text + group for text, group in zip(texts, [*groups, ""], strict=True))
    return f"{joined}.*" if star else f"{joined}/?"


def _path(scope: Scope) -> str:
    """Return the path below the mount point of the application."""
    path, mounted = scope["path"], scope.get("root_path", "")
    if mounted and path.startswith(mounted) and path[len(mounted) : len(mounted) + 1] in ("", "/"):
        return path[len(mounted) :]
    return path
