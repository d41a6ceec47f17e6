"""docs/operating.md has the metrics and the log events of the code, no more and no fewer."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.project.imports import ROOT
from tollhouse.metrics import Metrics

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
SERVICE = sorted((ROOT / "service/tollhouse").rglob("*.py"))
LEVELS = {"warning", "error", "exception", "critical", "_warn"}
"""What logs an event that an operator is to see; `_warn` is that of the forwarding notices."""


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table of a section, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def events(source: str) -> Iterator[str]:
    """Yield the events that a module logs as a warning or an error: texts, or constants of the module."""
    module = ast.parse(source)
    constants = [node for node in module.body if isinstance(node, ast.AnnAssign)]
    texts = {node.target.id: node.value for node in constants if isinstance(node.target, ast.Name)}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            first = next(iter(node.args), None)
            text = texts.get(first.id) if isinstance(first, ast.Name) else first
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def test_the_page_has_every_metric() -> None:
    """Each metric that is exported has a row, and each row a metric that is exported."""
    collected = Metrics(environ={}).registry.collect()
    exported = {metric.name + ("_total" if metric.type == "counter" else "") for metric in collected}

    assert {row[0].strip("`") for row in table("Metrics")} == exported


def test_the_page_has_every_warning_and_error() -> None:
    """Each event that is logged as a warning or an error has a row, and each row an event that is logged."""
    logged = {event for path in SERVICE for event in events(path.read_text(encoding="utf-8"))}
    shown = {event for row in table("Log") for event in re.findall(r"`([^`]+)`", row[0])}

    assert shown == logged
