"""Finds words that cost a reader a second reading: docstring openers, conditions said as places, people without names.

`python -m tests.project.words PATH...` lists them for files and folders.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PEOPLE = re.compile(r"\b(?:whoever|whomever|nobody|somebody|everybody|anybody)(?:'s)?\b", re.IGNORECASE)
WHERE = re.compile(r"(?:(?P<before>[\w'`)-]+)[,;:]?\s+)?\bwhere\b(?!-)", re.IGNORECASE)
BEFORE_A_PLACE = re.compile(
    r"address|database|directory|environment|file|folder|host|index|key|line|machine|module|node|page|places?|point"
    r"|position|process|server|shard|slot|systems|worker|world"
    r"|asks|choose|decides?|except|exactly|finds?|from|is|knows?|learns?|of|remembers?|says?|sees?|shows?|stands|tells?|to"
)
"""What may stand before `where`: a place, or a verb that asks for one."""
WEAK_OPENERS = re.compile(
    r"Be|Gives?|Have|Has|Lets?|Says?|See|Tells?|Returns|Raises|An?|Any|Each|Every|How|If|In|It|On|One|Th(?:e|is|at|ere|ese|ey)"
    r"|What|When|Where|Whether|Which|Who|Whom|Whose|Why|With"
)
HOUSE_VERBS = re.compile(r"Gives?|Have|Lets?|Says?|Tells?")
"""Openers that no function has, those of tests included, whose docstrings are sentences about what they check."""
NO_NOUN = re.compile(
    r"[A-Z][a-z]+ed|Held|Told|Said|Found|Known|Kept|Seen|Written|Begun|Sent|Lost|Shown|Given|Taken|Heard"
)
"""A class named by nothing but a participle: it says what was done, and not what the thing is."""

PUBLIC = frozenset({"Issued"})
"""Names that users have known for long."""


def complaints(path: str, source: str) -> list[str]:
    """Return what is wrong with the words of the file `path`, a path in the tree with slashes."""
    if path.endswith(".py"):
        found = [*_prose_complaints(_python_prose(source))]
        weak = WEAK_OPENERS if path.startswith(("bench/", "service/")) else HOUSE_VERBS
        return [*found, *_opener_complaints(source, weak)]
    if path.endswith(".lua"):
        return [*_prose_complaints(_lua_prose(source))]
    return [*_prose_complaints([(1, _page_prose(source))])] if path.endswith(".md") else []


def twice(sources: Mapping[str, str]) -> list[str]:
    """Return each public class name that more than one module defines, and where."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path, source in sorted(sources.items()):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(path)
    return [f"{name} is defined in {', '.join(paths)}" for name, paths in sorted(homes.items()) if len(paths) > 1]


def participles(sources: Mapping[str, str]) -> list[str]:
    """Return each class, exceptions apart, whose name is a participle alone."""
    return [
        f"{path}:{node.lineno} {node.name}: a participle is no noun"
        for path, source in sorted(sources.items())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and NO_NOUN.fullmatch(node.name.removeprefix("_"))
        and node.name not in PUBLIC
        and not any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]


def _prose_complaints(prose: Iterator[tuple[int, str]] | list[tuple[int, str]]) -> Iterator[str]:
    for first, text in prose:
        for match in PEOPLE.finditer(text):
            yield f"line {_line(first, text, match.start())}: {match[0]!r}; say the caller, the client, another process"
        for match in WHERE.finditer(text):
            if not BEFORE_A_PLACE.fullmatch((match["before"] or "").strip("`").lower()):
                yield f"line {_line(first, text, match.end())}: 'where' is for places; a condition is 'if' or 'when'"


def _line(first: int, text: str, offset: int) -> int:
    return first + text.count("\n", 0, offset)


def _python_prose(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case _:
                pass
    comment, first, last = "", 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] == last + 1:
                comment += "\n"
            else:
                yield first, comment
                comment, first = "", token.start[0]
            comment, last = comment + token.string.lstrip("# "), token.start[0]
    yield first, comment


def _lua_prose(source: str) -> list[tuple[int, str]]:
    return [(1, "\n".join(line.partition("--")[2] for line in source.splitlines()))]


def _page_prose(source: str) -> str:
    """Return a page with empty lines in place of its programs."""
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), source, flags=re.DOTALL | re.MULTILINE)


def _opener_complaints(source: str, weak: re.Pattern[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        opener = (ast.get_docstring(node) or "").partition("\n")[0].split(" ", 1)[0].rstrip(".,:;")
        if weak.fullmatch(opener) and not _is_property(node):
            yield f"line {node.lineno}: {node.name} opens with {opener!r}; open with Return, Raise or the effect"


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(part).rpartition(".")[2] in ("property", "cached_property") for part in node.decorator_list)


def main(paths: list[str]) -> int:
    """Print the complaints about the files given, or in the folders given; return how many there are."""
    files = [file for path in map(Path, paths) for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    texts = {str(file): file.read_text(encoding="utf-8") for file in files if file.suffix in (".py", ".lua", ".md")}
    found = [f"{path}: {complaint}" for path, text in texts.items() for complaint in complaints(path, text)]
    service = {path: text for path, text in texts.items() if path.startswith("service/") and path.endswith(".py")}
    found += [*twice(service), *participles(service)]
    print(*found, sep="\n")  # noqa: T201 - this is a command for people
    return len(found)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
