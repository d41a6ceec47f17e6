"""docs/operating.md has the metrics and the log events of the code, no more and no fewer."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

import tollhouse
from tests.project.imports import ROOT
from tollhouse.metrics import Metrics

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
SERVICE = sorted((ROOT / "service/tollhouse").rglob("*.py"))
LEVELS = {"warning", "error", "exception", "critical", "_warn"}
"""What logs an event that an operator is to see; `_warn` is that of the forwarding notices, and of the throttle."""
RULE = re.compile(r"\balert: (\w+)(?:, expr: |\n  expr: >-\n)(.*?)(?=, for:|\}\n|\n  for:)", re.DOTALL)
NAME = re.compile(r"\btollhouse_\w+")
SELECTOR = re.compile(r'rate\((tollhouse_\w+)\{(\w+)(=~?)"([^"]*)"\}\[')
HIT_RATES = re.compile(r"In production a hit rate of (\d+) to (\d+) %")


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


def exported() -> set[str]:
    """Return the names of the metrics that a scrape has."""
    collected = Metrics(environ={}).registry.collect()
    return {metric.name + ("_total" if metric.type == "counter" else "") for metric in collected}


def rules() -> dict[str, str]:
    """Return the expressions of the alerts on the page, by name."""
    return {name: expression.strip("' \n") for name, expression in RULE.findall(PAGE)}


def rate_of_hits(expression: str, metrics: Metrics) -> float:
    """Return what the left side of a rule `sum(rate(…)) / sum(rate(…)) < …` comes to for all that was counted."""
    sums: list[float] = []
    for name, label, operator, value in SELECTOR.findall(expression):
        pattern = re.compile(value if operator == "=~" else re.escape(value))
        samples = [sample for metric in metrics.registry.collect() for sample in metric.samples if sample.name == name]
        sums.append(sum(sample.value for sample in samples if pattern.fullmatch(sample.labels[label])))
    part, whole = sums
    return part / whole


def test_the_page_has_every_metric() -> None:
    """Each metric that is exported has a row, and each row a metric that is exported."""
    assert {row[0].strip("`") for row in table("Metrics")} == exported()


def test_alerts_are_about_metrics_that_exist() -> None:
    """Every alert of the page names metrics that are exported, and nothing else."""
    named = {name: set(NAME.findall(expression)) for name, expression in rules().items()}

    assert len(named) == PAGE.count("alert: ")
    assert all(named.values())
    assert set.union(*named.values()) - exported() == set()


async def test_the_alert_for_few_hits_counts_the_reads_of_a_cache() -> None:
    """S4-48: it selects what a cache counts, and fires below the lower end of the hit rates that the page has."""
    expression = rules()["CacheHitRateLow"]
    threshold = float(expression.rpartition("<")[2])
    lowest, highest = (int(percent) for percent in HIT_RATES.findall(PAGE)[0])

    async def load() -> str:
        return "value"

    async with tollhouse.open("fake://alert-for-few-hits") as th:
        for _ in range(5):
            await th.cache.get_or_load("image:1", load)
        on_target = rate_of_hits(expression, th.metrics)
        await th.cache.get_or_load("image:2", load)
        below = rate_of_hits(expression, th.metrics)

    assert (threshold, lowest, highest) == (0.8, 80, 95)
    assert (on_target, below) == (0.8, 4 / 6)


def test_the_page_has_every_warning_and_error() -> None:
    """Each event that is logged as a warning or an error has a row, and each row an event that is logged."""
    logged = {event for path in SERVICE for event in events(path.read_text(encoding="utf-8"))}
    shown = {event for row in table("Log") for event in re.findall(r"`([^`]+)`", row[0])}

    assert shown == logged
