"""Finds, expands and checks the Lua scripts; a script is a value, and running it is the store's work."""

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
    """An argument that only the store knows, filled in when the call is sent."""

    PRIMARY = "primary"


PRIMARY: Final = Placeholder.PRIMARY
"""Stands for the replication id of the primary that the call goes to."""

Argument = str | bytes | int | Placeholder
"""What a script can be given; integers travel as decimal text."""

_INCLUDE = re.compile(r"^--#include (lib/[a-z_]+\.lua)$", re.MULTILINE)
_FIELD = re.compile(r"^-- (idempotent|flags|twin)\s+(.+)$", re.MULTILINE)
_FLAGS = frozenset({"no-writes", "allow-oom", "allow-stale"})


class Script(Struct, frozen=True, kw_only=True):
    """One script as the servers get it.

    `text` starts with the shebang that real servers read; `plain` is without, for fakeredis.
    `idempotent` says that running it twice leaves the same state and the same answer.
    """

    name: str
    text: str
    plain: str
    sha: str
    plain_sha: str
    idempotent: bool
    flags: tuple[str, ...]
    twin: str | None


Scripts = Mapping[str, Script]


class ScriptRunner(Protocol):
    """What runs scripts: a store, as far as a feature needs no more of it."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Argument]) -> list[Any]:
        """Run a script and return its reply; raise StoreUnavailable when no reply can be relied on."""
        ...


def find_lua(package: Path = Path(__file__).parent) -> Path:
    """Give the folder of scripts: beside the package where it is installed, else at the root of the checkout."""
    for candidate in (package / "lua", package.parents[1] / "lua"):
        if (candidate / "lib").is_dir():
            return candidate
    raise ConfigurationError("lua", str(package), "the scripts were not installed; reinstall tollhouse")


def load(root: Path | None = None) -> Scripts:
    """Read every script below `root`, named `feature/verb`."""
    folder = find_lua() if root is None else root
    return {
        f"{path.parent.name}/{path.stem}": _script(folder, path)
        for path in sorted(folder.glob("*/*.lua"))
        if path.parent.name != "lib"
    }


def expand(root: Path, source: str) -> str:
    """Replace each include, one level deep and each at most once, by the text it names."""
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
    text = "#!lua" + (f" flags={','.join(flags)}" if flags else "") + "\n" + plain
    return Script(
        name=f"{path.parent.name}/{path.stem}",
        text=text,
        plain=plain,
        sha=_sha1(text),
        plain_sha=_sha1(plain),
        idempotent=fields["idempotent"] == "yes",
        flags=flags,
        twin=fields.get("twin"),
    )


def _without_comments(source: str) -> str:
    """Drop whole-line comments, which the servers would only parse and keep; includes stay."""
    kept = [line for line in source.splitlines() if not line.lstrip().startswith("--") or line.startswith("--#include")]
    return "\n".join(kept).strip() + "\n"


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
