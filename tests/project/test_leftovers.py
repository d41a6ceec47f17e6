"""What a test leaves open is its own mistake: the tests after it do not fail by that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.project.imports import ROOT

TESTS = """
import gc
import socket


def test_first():
    gc.disable()
    left = [socket.socket()]
    left.append(left)
    assert {passes}


def test_second():
    gc.collect()
"""


def outcomes(folder: Path, *, passes: bool) -> list[str]:
    """Return the outcomes of two tests, in order: the first one leaves a socket open, and fails unless it passes."""
    (folder / "test_two.py").write_text(TESTS.format(passes=passes), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    options = ("-p", "tests.conftest", "-p", "no:valkey", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "error")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-v"],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = re.findall(r"^test_two.py::(test_\w+) ([A-Z]+)", done.stdout, re.MULTILINE)
    return [outcome for _, outcome in sorted(lines)]


def test_a_failed_test_fails_no_other(tmp_path: Path) -> None:
    """What a failed test left open is collected with it, without the warning that would fail the next one."""
    assert outcomes(tmp_path, passes=False) == ["FAILED", "PASSED"]


def test_what_a_test_that_passes_leaves_open_is_found(tmp_path: Path) -> None:
    """The warning is an error, and comes with the next collection, whichever test runs then."""
    assert outcomes(tmp_path, passes=True) == ["PASSED", "FAILED"]
