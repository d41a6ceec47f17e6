"""Makes the virtual environments of readers: what a `pip install` line brings, and nothing of this checkout."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.project.imports import ROOT

_OURS = re.compile(r"(?:\.|(?:\./)?tollhouse)(\[[a-z,]+\])?")
INSTALL_S = 600
"""Bound of one installation: a slow registry, or a busy machine, is no fault of the text."""
_CONTROL = "msgspec"
"""A package that a registry certainly has: if it cannot be installed, there is no registry."""


class Environment:
    """One virtual environment, in which lines such as `pip install './tollhouse[service]' starlette` are run.

    They install the wheel of this tree. The test is skipped if packages cannot be had: neither uv nor pip is there, or
    no registry answers.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.commands = folder / "bin"
        self._folder = folder
        self._wheel = wheel

    def run(self, line: str, constraints: Path | None = ROOT / "constraints.txt") -> None:
        """Run an install line; skip the test if there is no registry."""
        if (reason := _install_control(self._folder.with_name("control"))) is not None:
            pytest.skip(f"no packages can be installed here: {reason}")
        pinned = [] if constraints is None else ["--constraint", str(constraints)]
        failed = _install(self._folder, [*pinned, *self._arguments(line)], retries=3)
        assert failed is None, f"{line}: {failed}"

    def _arguments(self, line: str) -> list[str]:
        pip, install, *requirements = shlex.split(line)
        assert (pip, install) == ("pip", "install"), line
        matches = [(each, _OURS.fullmatch(each)) for each in requirements]
        return [each if match is None else f"{self._wheel}{match[1] or ''}" for each, match in matches]


class Environments:
    """Virtual environments: new ones, and one for each line that several tests need."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._folder = folder
        self._wheel = wheel
        self._shared: dict[str, Environment] = {}
        self._names = itertools.count()

    def new(self) -> Environment:
        """Return an empty environment."""
        folder = self._folder / str(next(self._names))
        venv.create(folder, symlinks=True)
        return Environment(folder, self._wheel)

    def after(self, line: str) -> Environment:
        """Return the environment in which one line was run; it is made once, and nothing may be added to it."""
        if line not in self._shared:
            made = self.new()
            made.run(line)
            self._shared[line] = made
        return self._shared[line]


@cache
def _install_control(folder: Path) -> str | None:
    """Return why nothing can be installed, None if something can; it is tried once in a run."""
    venv.create(folder, symlinks=True)
    return _install(folder, [_CONTROL])


def _install(target: Path, arguments: Sequence[str], *, retries: int = 0) -> str | None:
    """Install into an environment; return what went wrong, None if nothing did."""
    program = _installer(target / "bin/python")
    if program is None:
        return "neither uv nor pip is installed"
    done = subprocess.run(
        [*program, "--quiet", *arguments],
        env={**os.environ, "PIP_RETRIES": str(retries), "PIP_TIMEOUT": "20", "UV_HTTP_RETRIES": str(retries)},
        check=False,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def _installer(python: Path) -> list[str] | None:
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        return [uv, "pip", "install", "--python", str(python)]
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-compile"]
    return None
