"""Loads, expands and checks the Lua scripts; a script is a value, and stores run it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Struct

from tollhouse.errors import ConfigurationError


class Placeholder(Enum):
    """An argument that only the store knows; it fills it in when it sends the call."""

    PRIMARY = "primary"


PRIMARY: Final = Placeholder.PRIMARY
"""The replication id of the primary that executes the call."""

Argument = str | bytes | int | Placeholder
"""An argument of a script; integers are sent as decimal text."""


class FixedArguments:
    """The `values` that many calls of a script on one key have in common: a store packs them once, into `packed`.

    Whatever else takes arguments reads it as the sequence of its values.
    """

    __slots__ = ("packed", "values")

    def __init__(self, values: tuple[str | int, ...]) -> None:
        self.values = values
        self.packed: bytes | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, position: int) -> str | int:
        return self.values[position]


_GIVEN_BY_CALLERS = 2
"""The number of the first argument that callers give; the one before is the time."""
_INCLUDE = re.compile(r"^--#include (lib/[a-z_]+\.lua)$", re.MULTILINE)
_FIELD = re.compile(r"^-- (idempotent|flags)\s+(.+)$", re.MULTILINE)
_PRIMARY_AT = re.compile(r"^-- ARGV\[(\d+)\]\s+primary\s", re.MULTILINE)
_ARGUMENT = re.compile(r"^-- ARGV\[[^]]+\]\s+(.+)$", re.MULTILINE)
_SMALL = re.compile(r"(?:\w+\s+)?(?:integers?\b|0 or 1\b|texts?, \d)|primary\s|per ")
_FLAGS = frozenset({"no-writes", "allow-oom", "allow-stale"})


class Script(Struct, frozen=True, kw_only=True):
    """One script, as it is sent.

    `text` begins with a shebang for real servers; `plain` has none, for fakeredis. If it is `idempotent`, running it
    twice leaves the same state and gives the same reply. If it `reads` only, it also runs if the server may not write.
    `primary_at` is the position of PRIMARY among the arguments that callers give; None if they give none. Unless an
    argument `may_be_large`, all are numbers, texts whose length the header states, or so many per policy or window. So
    what most calls would search their arguments for is known when the script is loaded.
    """

    name: str
    text: str
    plain: str
    sha: str
    idempotent: bool
    reads: bool = False
    primary_at: int | None = None
    may_be_large: bool = True


Scripts = Mapping[str, Script]


class ScriptRunner(Protocol):
    """What runs scripts: a store, as far as a feature needs no more of it."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument], *, waited_ms: int = 0) -> list[Any]:
        """Run a script and return its reply; raise StoreUnavailable when no reply can be relied on.

        The caller has spent `waited_ms` of its deadline before.
        """
        ...


class DurableScriptRunner(Protocol):
    """What runs scripts whose writes may have to survive a failover."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument], *, waited_ms: int = 0) -> list[Any]:
        """Run a script as a `ScriptRunner` does."""
        ...

    async def run_durably(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[list[Any], bool]:
        """Run a script; return its reply, and whether its writes survive a failover."""
        ...


def find_lua(package: Path = Path(__file__).parent) -> Path:
    """Return the folder of the scripts: inside the installed package, or at the root of a checkout."""
    for candidate in (package / "lua", package.parents[1] / "lua"):
        if (candidate / "lib").is_dir():
            return candidate
    raise ConfigurationError("lua", str(package), "the scripts are missing; reinstall tollhouse")


def load(root: Path | None = None) -> Scripts:
    """Load every script below `root`, by its name `feature/verb`."""
    folder = find_lua() if root is None else root
    paths = (path for path in sorted(folder.glob("*/*.lua")) if path.parent.name != "lib")
    return {script.name: script for script in (_script(folder, path) for path in paths)}


def expand(root: Path, source: str) -> str:
    """Replace each include by the file that it names; raise ConfigurationError for a nested or repeated include."""
    names = _INCLUDE.findall(source)
    if len(names) != len(set(names)):
        raise ConfigurationError("lua", names, "include each file at most once")

    def included(match: re.Match[str]) -> str:
        text = (root / match[1]).read_text(encoding="utf-8")
        if _INCLUDE.search(text):
            raise ConfigurationError("lua", match[1], "an included file may not include another")
        return _without_comments(text)

    return _INCLUDE.sub(included, _without_comments(source))


def _script(root: Path, path: Path) -> Script:
    source = path.read_text(encoding="utf-8")
    header = source.partition("\n\n")[0]
    fields = dict(_FIELD.findall(header))
    flags = tuple(fields["flags"].split()) if fields.get("flags", "none") != "none" else ()
    if fields.get("idempotent") not in ("yes", "no") or not _FLAGS.issuperset(flags):
        raise ConfigurationError(
            f"lua/{path.parent.name}/{path.name}", fields, "say `idempotent yes|no` and known flags"
        )
    plain = expand(root, source)
    primary = _PRIMARY_AT.search(header)
    text = "#!lua" + (f" flags={','.join(flags)}" if flags else "") + "\n" + plain
    return Script(
        name=f"{path.parent.name}/{path.stem}",
        text=text,
        plain=plain,
        sha=_sha1(text),
        idempotent=fields["idempotent"] == "yes",
        reads="no-writes" in flags,
        primary_at=None if primary is None else int(primary[1]) - _GIVEN_BY_CALLERS,
        may_be_large=not all(map(_SMALL.match, _ARGUMENT.findall(header))),
    )


def _without_comments(source: str) -> str:
    """Remove whole-line comments, which servers would only store; keep includes."""
    lines = [
        line for line in source.splitlines() if not line.lstrip().startswith("--") or line.startswith("--#include")
    ]
    return "\n".join(lines).strip() + "\n"


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
