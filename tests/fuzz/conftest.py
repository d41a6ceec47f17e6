"""Shows the seed and the answers of a fuzz run at its end, also of one on several workers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz.harness import SUMMARY


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the lines of a worker over to the process that shows them."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["fuzz"] = SUMMARY


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the lines of a worker."""
    SUMMARY.extend(getattr(node, "workeroutput", {}).get("fuzz", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write one line for each target."""
    if SUMMARY:
        terminalreporter.write_sep("=", f"fuzz, seed {config.getoption('--hypothesis-seed', None)}")
        for line in SUMMARY:
            terminalreporter.write_line(line)
