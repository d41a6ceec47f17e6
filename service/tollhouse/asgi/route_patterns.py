"""Route patterns: match a request by method and path, before any framework has routed it.

A pattern is a path, with the methods in front that it is for: `/health`, `POST /login`, `GET|PUT /users/{id}`,
`/api/*`. `{name}` stands for one part of a path, `*` at the end for all the rest. Without methods a pattern holds for
all of them and for websockets, which `WS` names alone; `GET` holds for `HEAD` too. One slash at the end of a request's
path makes no difference: many frameworks serve both. The first pattern that matches wins.

Frameworks route more spellings than the plain one to the same handler: Starlette and FastAPI `/login%0a`, Litestar and
Quart `//login` and, with a `root_path`, whatever precedes it in the path, BlackSheep any letter case. So a path that is
not spelled plainly is matched as it is and in its plain spelling. The first pattern that either matches wins; but a
pattern without a limit holds only if both match one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic, TypeVar, cast
from urllib.parse import unquote

from tollhouse.asgi.types import Scope
from tollhouse.errors import ConfigurationError
from tollhouse.suggest import similar

T = TypeVar("T")

_PATTERN: Final = re.compile(r"(?:([A-Z]+(?:\|[A-Z]+)*) +)?(/\S*)")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
_REMEDY: Final = "write it like `POST /login`, `/users/{id}` or `/api/*`"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS")
_LIKENESS: Final = 0.65
"""Of a misspelled method: GTE resembles GET, and the method REPORT does not resemble POST."""
_ODD: Final = re.compile(r"[A-Z;%\\\s\x00-\x1f]")
_ORIGIN: Final = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*:(?://[^/]*)?")
_TRAILING: Final = "".join(map(chr, range(0x21))) + "."


class RoutePatterns(Generic[T]):
    """Patterns with a value each, compiled to one expression: a match takes one step however many there are.

    `is_exempt` says which values stand for no limit. `root_path` is where the application says that it is mounted, if
    it does.
    """

    def __init__(
        self, patterns: Mapping[str, T], is_exempt: Callable[[T], bool] = lambda _: False, root_path: str = ""
    ) -> None:
        self._values = tuple(patterns.values())
        self._exempt = tuple(map(is_exempt, self._values))
        self._root_path = root_path
        compiled = "|".join(f"(?P<_{i}>{_expression(i, pattern)})" for i, pattern in enumerate(patterns))
        self._parameters = tuple(tuple(_PARAMETER.findall(pattern)) for pattern in patterns)
        self._expression = re.compile(compiled, re.DOTALL)
        self._any_case = re.compile(compiled, re.DOTALL | re.IGNORECASE)

    def find(self, scope: Scope) -> tuple[T, Mapping[str, str]] | None:
        """Return the value of the first pattern that matches, and its path parameters; None if none matches."""
        method = scope["method"].upper() if scope["type"] == "http" else "WS"
        mounted = self._root_path or scope.get("root_path", "")
        path = scope["path"]
        below = path_below(path, mounted) if mounted else path
        match = self._expression.fullmatch(f"{method} {below}")
        if _is_odd(below) or (mounted and below == path and mounted in path):
            match = self._strictest([match, *self._respelled(method, below, mounted)])
        return None if match is None else self._found(match)

    def _respelled(self, method: str, path: str, mounted: str) -> Iterator[re.Match[str] | None]:
        below = path.split(mounted, 1)[1:] if mounted else ()
        for spelling in (path, *below):
            yield self._any_case.fullmatch(f"{method} {plain_spelling(spelling)}")

    def _strictest(self, matches: list[re.Match[str] | None]) -> re.Match[str] | None:
        """Return the first pattern with a limit, or None if a spelling matches none, or a pattern without a limit."""
        found = [match for match in matches if match is not None]
        limiting = [match for match in found if not self._exempt[_number(match)]]
        if not limiting and len(found) < len(matches):
            return None
        return min(reversed(limiting or found), key=_number)

    def _found(self, match: re.Match[str]) -> tuple[T, Mapping[str, str]]:
        number = _number(match)
        return self._values[number], {name: match[f"_{number}_{name}"] for name in self._parameters[number]}


def path_below(path: str, root_path: str) -> str:
    """Return the path below the mount point of the application; the path itself if it does not lie below."""
    if path.startswith(root_path) and path[len(root_path) : len(root_path) + 1] in ("", "/"):
        return path[len(root_path) :]
    return path


def plain_spelling(path: str) -> str:
    """Return the path without what some server or framework reads over, except that it keeps its letter case."""
    spelled = _ORIGIN.sub("", unquote(path).replace("\\", "/")).split("/")
    parts: list[str] = []
    for part in (one.partition(";")[0] for one in spelled):
        if part == "..":
            del parts[-1:]
        elif plain := part.rstrip(_TRAILING):
            parts.append(plain)
    slash = "/" if parts and not spelled[-1] else ""
    return f"/{'/'.join(parts)}{slash}"


def _is_odd(path: str) -> bool:
    """Return True if a path may have another spelling."""
    # Several plain tests: one expression for all of them takes as long as the match itself.
    if _ODD.search(path) is not None or "//" in path or path[:1] != "/":
        return True
    return "." in path and ("./" in path or path[-1] == ".")


def _number(match: re.Match[str]) -> int:
    assert match.lastgroup is not None
    return int(match.lastgroup[1:])


def _expression(number: int, pattern: str) -> str:
    if not isinstance(cast("object", pattern), str):
        raise ConfigurationError("routes", pattern, _REMEDY)
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        raise ConfigurationError("routes", pattern, _remedy(pattern))
    methods, path = found.groups()
    for method in methods.split("|") if methods else ():
        if (meant := _meant(method)) != method:
            raise ConfigurationError("routes", pattern, f"did you mean {meant!r}? {method!r} is no method")
    return f"{_methods(methods)} {_rest(number, pattern, path)}"


def _meant(method: str) -> str:
    """Return the common method that a method is a misspelling of; the method itself if it resembles none."""
    as_long = [known for known in _METHODS if abs(len(known) - len(method)) <= 1]  # PROPPATCH is no PATCH
    return next(iter(similar(method, as_long, likeness=_LIKENESS)), method)


def _remedy(pattern: str) -> str:
    """Return the remedy for what is no pattern, with the right spelling if only that of its methods is wrong."""
    methods, _, path = pattern.rpartition(" ")
    named = re.findall(r"[A-Z]+", methods.upper())
    meant = f"{'|'.join(map(_meant, named))} {path}"
    return f"did you mean {meant!r}? {_REMEDY}" if _PATTERN.fullmatch(meant) else _REMEDY


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
