"""Reads the header of a script as a value, and writes the table of scripts.

Run `.venv/bin/python -m tests.lua.contract > lua/README.md` after adding a script or changing its first sentence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

LUA = Path(__file__).parents[2] / "lua"
FIELDS = ("returns", "expires", "touches", "cost", "idempotent", "flags", "twin")
REQUIRED = frozenset(FIELDS) - {"touches", "twin"}

_SLOTS = re.compile(r"((?:(?:KEYS|ARGV)\[[^\]]+\],? ?)+)\s*(\S.*)")
_SLOT = re.compile(r"(KEYS|ARGV)\[([^\]]+)\]")
_FIELD = re.compile(rf"({'|'.join(FIELDS)})\s+(\S.*)")
_TERM = re.compile(r"([+-])(?:(\d+)\*?)?([a-z_]\w*)?")


class HeaderError(ValueError):
    """A header that does not keep the form; the message names the line."""


class Slot(Struct, frozen=True, kw_only=True):
    """The place of one argument: at `offset`, or at `factor * i + offset` for i = 1, 2, 3, ...

    An `open` slot takes all arguments from its place on; a further line for `[..]` tells what comes later in them.
    """

    table: Literal["KEYS", "ARGV"]
    factor: int
    offset: int
    open: bool = False
    text: str

    @property
    def name(self) -> str:
        """The word that the script's local has, too."""
        return self.text.split()[0]

    @property
    def numeric(self) -> bool:
        """Whether the type, the word after the name, is a number's."""
        return re.match(r"\S+\s+(integer|number|\d)", self.text) is not None

    @property
    def unused(self) -> bool:
        """Whether the header says that the script does not look at it."""
        return "unused" in self.text

    def at(self, i: int) -> int:
        """Return the index of the i-th repetition."""
        return self.factor * i + self.offset


class Contract(Struct, frozen=True, kw_only=True):
    """What the header of a script promises, and the code that follows it."""

    name: str
    sentence: str
    slots: tuple[Slot, ...]
    fields: dict[str, str]
    includes: tuple[str, ...]
    body: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags, without the word none."""
        return tuple(flag for flag in self.fields["flags"].split() if flag != "none")


def parse(name: str, source: str) -> Contract:
    """Return the contract of the script `name` (`feature/verb`); raises HeaderError."""
    header, _, body = source.partition("\n\n")
    lines = header.splitlines()
    includes = [line.removeprefix("--#include ") for line in lines if line.startswith("--#")]
    sentence, entries = _entries(name, [line for line in lines if not line.startswith("--#")])
    slots = [slot for entry in entries if (match := _SLOTS.fullmatch(entry)) for slot in _slots(match)]
    pairs = [match.group(1, 2) for entry in entries if (match := _FIELD.fullmatch(entry))]
    if [key for key, _ in pairs] != [key for key in FIELDS if key in dict(pairs)]:
        raise HeaderError(f"{name}: give each field once, in the order {', '.join(FIELDS)}")
    if missing := REQUIRED.difference(dict(pairs)):
        raise HeaderError(f"{name}: the header does not say {', '.join(sorted(missing))}")
    _check_numbering(name, slots)
    return Contract(
        name=name, sentence=sentence, slots=tuple(slots), fields=dict(pairs), includes=tuple(includes), body=body
    )


def sources(root: Path = LUA) -> dict[str, str]:
    """Return the text of every script by its name, in order; `lib` is left out."""
    paths = sorted(path for path in root.glob("*/*.lua") if path.parent.name != "lib")
    return {f"{path.parent.name}/{path.stem}": path.read_text(encoding="utf-8") for path in paths}


def libraries(root: Path = LUA) -> dict[str, str]:
    """Return the text of every shared function by the name that includes use."""
    return {f"lib/{path.name}": path.read_text(encoding="utf-8") for path in sorted(root.glob("lib/*.lua"))}


def library_sentence(name: str, source: str) -> str:
    """Return the sentence of a shared function's first line; raises HeaderError."""
    match = re.match(rf"-- {re.escape(name)}: (.+\.)\n", source)
    if match is None:
        raise HeaderError(f"{name}: the first line is `-- {name}: sentence.`")
    return match[1]


def table(root: Path = LUA) -> str:
    """Return the page that lists every script and every shared function."""
    contracts = [parse(name, source) for name, source in sources(root).items()]
    rows = [f"| `{c.name}` | {c.sentence} | {c.fields['idempotent']} | {c.fields['flags']} |" for c in contracts]
    shared = [f"| `{name}` | {library_sentence(name, source)} |" for name, source in libraries(root).items()]
    return "\n".join([*_PAGE, *rows, "", *_SHARED, *shared, ""])


_PAGE = (
    "# Scripts",
    "",
    "Each file is one atomic step on the server. Its header says what it takes, returns, writes and costs;",
    "`tests/lua/test_contracts.py` holds the code to it. The store that runs a script prepends `now_ms`, retries an",
    "unanswered call only if the script is idempotent, and sends the flags to the server.",
    "",
    "This page is written by `.venv/bin/python -m tests.lua.contract > lua/README.md`.",
    "",
    "| script | what it does | idempotent | flags |",
    "|---|---|---|---|",
)
_SHARED = (
    "Functions that scripts share; `--#include` puts their text in place.",
    "",
    "| file | what it does |",
    "|---|---|",
)


def _entries(name: str, lines: list[str]) -> tuple[str, list[str]]:
    """Return the first sentence, and each slot or field with the lines that continue it joined to it."""
    title, *rest = [_uncommented(name, line) for line in lines]
    opening = f"{name}.lua: "
    if not title.startswith(opening) or not title.endswith("."):
        raise HeaderError(f"{name}: the first line is `-- {opening}sentence.`")
    entries: list[str] = []
    for line in rest:
        if _SLOTS.fullmatch(line) or _FIELD.fullmatch(line):
            entries.append(line)
        elif entries and line.startswith("  "):
            entries[-1] += " " + line.strip()
        elif entries:
            raise HeaderError(f"{name}: {line!r} is no slot, field or indented continuation")
    return title.removeprefix(opening), entries


def _uncommented(name: str, line: str) -> str:
    if not re.match(r"--( |$)", line):
        raise HeaderError(f"{name}: a blank line ends the header, and {line!r} is no comment")
    return line[3:]


def _slots(match: re.Match[str]) -> Iterator[Slot]:
    for name, index in _SLOT.findall(match[1]):
        table: Literal["KEYS", "ARGV"] = "KEYS" if name == "KEYS" else "ARGV"
        first, dots, last = index.partition("..")
        if dots and not first:
            continue
        factor, start = _place(index, first)
        if dots and not last:
            yield Slot(table=table, factor=1, offset=start - 1, open=True, text=match[2])
            continue
        end_factor, end = _place(index, last) if dots else (factor, start)
        if end_factor != factor or end < start:
            raise HeaderError(f"[{index}]: both ends of a range repeat alike, the lower one first")
        for offset in range(start, end + 1):
            yield Slot(table=table, factor=factor, offset=offset, text=match[2])


def _place(index: str, text: str) -> tuple[int, int]:
    found = linear(text)
    if found is None or found[0] not in ("", "i"):
        raise HeaderError(f"[{index}]: write 2, 3i+1, 3i..3i+2, 4.. or, for what follows that, ..")
    return found[1:]


def linear(text: str) -> tuple[str, int, int] | None:
    """Read `3i+2` or `3 * i + 2` as (i, 3, 2); None if it is no sum of numbers and multiples of one variable."""
    joined = "+" + text.replace(" ", "")
    terms = [match for match in _TERM.finditer(joined) if match[2] or match[3]]
    variables = {match[3] for match in terms if match[3]}
    if "".join(match[0] for match in terms) != joined or len(variables) > 1:
        return None
    factors = [int(f"{match[1]}{match[2] or 1}") for match in terms if match[3]]
    offsets = [int(f"{match[1]}{match[2]}") for match in terms if not match[3]]
    return "".join(variables), sum(factors), sum(offsets)


def _check_numbering(name: str, slots: list[Slot]) -> None:
    for table in ("KEYS", "ARGV"):
        own = [slot for slot in slots if slot.table == table]
        indices = sorted(slot.at(i) for slot in own for i in ((1, 2, 3) if slot.factor else (0,)))
        if indices != list(range(1, len(indices) + 1)):
            raise HeaderError(f"{name}: {table} is numbered {indices}; it starts at 1 and has no gap or double")


if __name__ == "__main__":
    sys.stdout.write(table())
