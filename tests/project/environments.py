"""Makes the virtual environments of readers: what a `pip install` line brings, and nothing of this checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.project.imports import ROOT

_OURS = re.compile(r"(?:\./)?tollhouse(\[[a-z,]+\])?")
_CONTROL = "msgspec"
"""A package that a registry certainly has: if it cannot be installed either, there is no registry."""


class Environments:
    """Virtual environments by the lines that made them, each made once in a run.

    A line such as `pip install './tollhouse[service]' starlette` installs the wheel of this tree. The test is skipped
    if packages cannot be had: neither uv nor pip is there, or no registry answers.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._folder = folder
        self._wheel = wheel
        self._made: dict[tuple[str, ...], Path | str] = {}

    def commands(self, *lines: str) -> Path:
        """Return the folder of the commands in an environment in which these lines were run, one after the other."""
        made = self._made.get(lines) or self._make(lines)
        self._made[lines] = made
        if isinstance(made, str):
            pytest.skip(made)
        return made

    def _make(self, lines: Sequence[str]) -> Path | str:
        target = self._folder / str(len(self._made))
        venv.create(target, symlinks=True)
        for line in lines:
            failed = _install(target, self._arguments(line))
            if failed is None:
                continue
            if (reason := _install(self._folder / "control", [_CONTROL])) is not None:
                return f"no packages can be installed here: {reason}"
            pytest.fail(f"{line}: {failed}")
        return target / "bin"

    def _arguments(self, line: str) -> list[str]:
        pip, install, *requirements = shlex.split(line)
        assert (pip, install) == ("pip", "install"), line
        return [f"{self._wheel}{match[1] or ''}" if (match := _OURS.fullmatch(each)) else each for each in requirements]


def _install(target: Path, arguments: Sequence[str]) -> str | None:
    """Install into an environment, which is made if it is missing; return what went wrong, None if nothing did."""
    if not target.exists():
        venv.create(target, symlinks=True)
    program = _installer(target / "bin/python")
    if program is None:
        return "neither uv nor pip is installed"
    done = subprocess.run(
        [*program, "--quiet", "--constraint", str(ROOT / "constraints.txt"), *arguments],
        env={**os.environ, "PIP_RETRIES": "0", "PIP_TIMEOUT": "20", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def _installer(python: Path) -> list[str] | None:
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", str(python)]
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-compile"]
    return None
