"""Checks what the documents and the examples show as a user's type checkers would: pyright and mypy, both strict.

Every ```python block of README.md and docs/*.md, and every file of examples/, becomes a module of its own, outside of
the source tree. Each checker runs once for all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.project.console import blocks
from tests.project.imports import ROOT

PYRIGHT_SETTINGS = {
    "include": ["."],
    "strict": ["."],
    "pythonVersion": "3.11",
    "reportUnnecessaryTypeIgnoreComment": True,
}
TIMEOUT_S = 240

Checker = Callable[[Path], str]


def modules(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each module; the name tells the page, and which of its blocks it is."""
    for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        stem = page.stem.lower().replace("-", "_")
        for number, block in enumerate(blocks(page.read_text(encoding="utf-8"), "python"), start=1):
            yield f"{stem}_{number}", block
    for example in sorted((root / "examples").rglob("*.py")):
        name = "_".join(example.relative_to(root / "examples").with_suffix("").parts)
        yield name, example.read_text(encoding="utf-8")


def write_modules(folder: Path, root: Path = ROOT) -> list[str]:
    """Write the modules, and the settings of pyright, into a folder; return the names of the modules."""
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT_SETTINGS), encoding="utf-8")
    names: list[str] = []
    for name, text in modules(root):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        names.append(name)
    return names


def pyright(folder: Path) -> str:
    """Return what pyright in strict mode finds in the modules, or an empty text."""
    return _problems(folder, "pyright", "--pythonpath", sys.executable, "--project", str(folder))


def mypy(folder: Path) -> str:
    """Return what `mypy --strict` finds in the modules, or an empty text."""
    return _problems(folder, "mypy", "--strict", "--no-error-summary", "--cache-dir", os.devnull, ".")


def _problems(folder: Path, checker: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr
