"""Finds where a file leaves the house style, as far as a program can see it and ruff does not look."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

MODULE_LINES_MAX = 300
TABLE_LINES_MAX = 600
"""Specifications grow by rows, which are read one at a time."""
FUNCTION_LINES_MAX = 40
TEST_LINES_MAX = 70
FOLDER_MODULES_MAX = 14
VAGUE_MODULES = frozenset(
    {"base", "common", "core", "helper", "helpers", "manager", "misc", "service", "services", "util", "utils"}
)
VAGUE_CLASSES = re.compile(r"Base[A-Z]\w*|\w*(?:Manager|Factory|Helper)")
NAMES_OF_OTHERS = frozenset({"CacheManager"})
"""Vague names that users bring along from elsewhere, and find here."""

WORDS = re.compile(
    r"\b(TODO|FIXME|XXX|HACK)\b|\b(robust|comprehensive|production-ready)\b|(DESIGN|STYLE|CONTRACT)\.md|/work/|/tmp/th\b"
)
DIVIDER = re.compile(r"^\s*(?:#|--) ?[-=*#~_]{3,}", re.MULTILINE)
IGNORE = re.compile(r"# (?:noqa|type: ignore|pyright: ignore|pragma)\b.*")
EXPLAINED_IGNORE = re.compile(
    r"# (?:noqa: [A-Z0-9, ]+|type: ignore\[[\w-]+\]|pyright: ignore\[[\w, ]+\]|pragma: no \w+) +- \S.*"
)
WALL_CLOCK = re.compile(r"\btime\.time\(|\bdatetime\.(?:now|utcnow)\(")
MOCK = re.compile(r"\bunittest\.mock\b|\bfrom unittest import mock\b|\bmocker\b")
REPLACED = re.compile(r"\bsetattr\((?:([\w.]+), )?\"([\w.]+)\"")
UNSTEADY = re.compile(r"(?<!def )\bsleep\((?!0\))|\bflaky\b|\bisinstance\([^)]*store", re.IGNORECASE)


def complaints(path: str, source: str) -> list[str]:
    """Return what is wrong with the file `path`, a path in the tree with slashes."""
    found = [f"line {_line(source, match)}: {match[0]!r} says nothing that lasts" for match in WORDS.finditer(source)]
    found += [f"line {_line(source, match)}: a divider; make it two modules" for match in DIVIDER.finditer(source)]
    if path.endswith(".py"):
        found += _python_complaints(path, source)
    return found


def _python_complaints(path: str, source: str) -> Iterator[str]:
    tree = ast.parse(source)
    yield from _size_complaints(path, source, tree)
    yield from _name_complaints(PurePosixPath(path).stem, tree)
    for match in IGNORE.finditer(source):
        if not EXPLAINED_IGNORE.fullmatch(match[0]):
            yield f"line {_line(source, match)}: {match[0]!r}; write the code, then ` - ` and the reason"
    if path.startswith("service/"):
        yield from _service_complaints(source, tree)
    if path.startswith("tests/"):
        yield from _test_complaints(path, source, tree)


def _size_complaints(path: str, source: str, tree: ast.Module) -> Iterator[str]:
    stop = TABLE_LINES_MAX if path.startswith("tests/") else MODULE_LINES_MAX
    if (lines := len(source.splitlines())) > stop:
        yield f"has {lines} lines; {stop} is the stop"
    stop = FUNCTION_LINES_MAX if path.startswith("service/") else TEST_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _lines(node) - sum(_lines(child) for child in node.body if isinstance(child, ast.ClassDef))
            if lines > stop:
                yield f"{node.name} has {lines} lines; {stop} is the stop"


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _name_complaints(stem: str, tree: ast.Module) -> Iterator[str]:
    if stem in VAGUE_MODULES:
        yield f"{stem!r} does not say what the module provides"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and VAGUE_CLASSES.fullmatch(node.name) and node.name not in NAMES_OF_OTHERS:
            yield f"{node.name!r} does not say what the class is"


def _service_complaints(source: str, tree: ast.Module) -> Iterator[str]:
    for match in WALL_CLOCK.finditer(source):
        yield f"line {_line(source, match)}: {match[0]}) is a hidden argument; take a clock"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_last_name(base) == "Struct" for base in node.bases):
            yield from _struct_complaints(node)


def _struct_complaints(node: ast.ClassDef) -> Iterator[str]:
    options = {word.arg for word in node.keywords if isinstance(word.value, ast.Constant) and word.value.value is True}
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    if "frozen" not in options:
        yield f"{node.name} is a value, so it is frozen"
    if len(fields) > 1 and "kw_only" not in options:
        yield f"{node.name} has {len(fields)} fields, so it is kw_only"


def _test_complaints(path: str, source: str, tree: ast.Module) -> Iterator[str]:
    yield from _pretence_complaints(source)
    if path.startswith(("tests/http/", "tests/lua/", "tests/models/", "tests/spec/")):
        for match in UNSTEADY.finditer(source):
            yield f"line {_line(source, match)}: {match[0]!r} has no place in a specification"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            sentence = (ast.get_docstring(node) or "").partition("\n")[0]
            if not _is_sentence(sentence):
                yield f"{node.name}: its docstring starts with one line that is a sentence of the specification"


def _is_sentence(text: str) -> bool:
    """Return True if a text ends like a sentence and begins like one, or with a name as it is spelled in code."""
    return text.endswith((".", "!", "?")) and (text[0].isupper() or not text.split(maxsplit=1)[0].isalpha())


def _pretence_complaints(source: str) -> Iterator[str]:
    for match in MOCK.finditer(source):
        yield f"line {_line(source, match)}: {match[0]!r}; inject the failure at a seam that we own"
    for match in REPLACED.finditer(source):
        owner, name = match[1] or match[2].rpartition(".")[0], match[2].rpartition(".")[2]
        if not sys.stdlib_module_names.intersection(owner.split(".")):
            yield f"line {_line(source, match)}: replaces {owner}.{name}; pass a parameter instead"


def crowded(paths: Iterable[str]) -> list[str]:
    """Return each folder that holds more modules than a reader keeps in mind."""
    modules = Counter(PurePosixPath(path).parent for path in paths if not path.endswith("/__init__.py"))
    return [f"{folder} has {count} modules" for folder, count in modules.items() if count > FOLDER_MODULES_MAX]


def own_bases(sources: dict[str, str]) -> list[str]:
    """Return each class that derives from one of ours, exceptions apart: compose, don't inherit."""
    classes = [
        (path, node)
        for path, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    ]
    failures = {"Exception"}
    for _ in classes:
        failures |= {node.name for _, node in classes if any(_last_name(base) in failures for base in node.bases)}
    ours = {node.name for _, node in classes} - failures
    return [
        f"{path}: {node.name} derives from {_last_name(base)}"
        for path, node in classes
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in ours
    ]


def broad_excepts(sources: dict[str, str]) -> list[str]:
    """Return the places that catch every exception and do not raise it again."""
    return [
        f"{path}:{node.lineno}"
        for path, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler)
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
        and (
            node.type is None or any(_last_name(part) in ("Exception", "BaseException") for part in ast.walk(node.type))
        )
    ]


def _last_name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _last_name(value)
        case _:
            return ""


def _line(source: str, match: re.Match[str]) -> int:
    return source.count("\n", 0, match.start()) + 1
