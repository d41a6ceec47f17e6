"""The pytest plugin, in runs of pytest as the developers of an app have them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.project.console import blocks
from tests.project.imports import ROOT

PAGE: Final = blocks((ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), "python")
OPTIONS: Final = ("-p", "pytest_tollhouse", "-p", "no:valkey", "-p", "no:cacheprovider", "-W", "error", "-q")


def run_pytest(folder: Path, *options: str) -> tuple[int, str]:
    """Run the tests in a folder, and return the exit code and what was printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLHOUSE_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, *options],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_page_about_tests_shows_tests_that_pass(tmp_path: Path) -> None:
    """Each test that docs/testing.md shows passes with the plugin alone, in random order and on two workers."""
    shown = [block for block in PAGE if "def test_" in block]
    for number, block in enumerate(shown):
        (tmp_path / f"test_{number}.py").write_text(block, encoding="utf-8")

    code, output = run_pytest(tmp_path, "-n", "2")

    assert (code, len(shown) > 1) == (0, True), output


def test_the_suite_of_an_app_passes_in_any_order(tmp_path: Path) -> None:
    """An app made once, as the page says, has tests of every kind, and none meets what another left."""
    (conftest,) = (block for block in PAGE if "def tollhouse_url" in block)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "http" / "app_suite.py", tmp_path / "test_app.py")

    code, output = run_pytest(tmp_path)

    assert code == 0, output
