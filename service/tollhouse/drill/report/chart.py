"""Draws a round as SVG: served and failed calls over time, with the fault and the steps of the failover.

Colours follow the reader's light or dark scheme. The file holds no script and no font, and loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

from tollhouse.drill.results.availability import BUCKET_MS, Bucket
from tollhouse.drill.results.history import Kind, Mark

WIDTH: Final = 1000
_LEFT: Final = 46
_RIGHT: Final = 14
_PLOT: Final = 160
_ROW: Final = 15
_CHARACTER: Final = 6.2
"""About the width of one character of a label, rather too wide than too narrow."""

_LABELS: Final[dict[Kind, str]] = {
    "fault": "fault",
    "healed": "continued",
    "sdown": "+sdown",
    "odown": "+odown",
    "promoted": "ROLE master",
    "demoted": "ROLE replica",
    "switch": "+switch-master",
    "generation": "client switched",
}
_STYLE: Final = """\
text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: #24292f }
.served { fill: #2da44e } .degraded { fill: #d4a72c } .failed { fill: #cf222e }
.axis, .mark { stroke: #57606a; fill: none } .mark { stroke-dasharray: 3 3 } .event { stroke: #8250df; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .served { fill: #3fb950 } .degraded { fill: #d29922 } .failed { fill: #f85149 }
.axis, .mark { stroke: #8b949e } .event { stroke: #a371f7 }
}"""


def draw(title: str, buckets: Sequence[Bucket], marks: Sequence[Mark], span_ms: float) -> str:
    """Return the chart as SVG."""
    scale = (WIDTH - _LEFT - _RIGHT) / span_ms

    def x(at_ms: float) -> float:
        return _LEFT + min(at_ms, span_ms) * scale

    labels = _place_labels([(x(mark.at_ms), mark) for mark in _first_of_each(marks) if mark.at_ms <= span_ms])
    top = 44 + _ROW * (1 + max((row for _, _, row in labels), default=-1))
    height = top + _PLOT + 40
    parts = [*_legend(), *_bars(buckets, x, top), *_axes(buckets, x, top, span_ms), *_draw_labels(labels, top)]
    return document(title, parts, style=_STYLE, left=_LEFT, height=height)


def document(title: str, parts: Iterable[str], *, style: str, left: int, height: int) -> str:
    """Return SVG of this title and these parts, `WIDTH` wide; the title begins at `left`."""
    name = escape(title)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{name}">',
        f"<title>{name}</title>",
        f"<style>{style}</style>",
        f'<text x="{left}" y="16" font-weight="600">{name}</text>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _legend() -> list[str]:
    words = (("served", "served by a store"), ("degraded", "answered by the outage rule"), ("failed", "failed"))
    parts: list[str] = []
    x = _LEFT
    for name, meaning in words:
        parts.append(f'<rect class="{name}" x="{x}" y="24" width="9" height="9"/>')
        parts.append(f'<text x="{x + 13}" y="32">{meaning}</text>')
        x += 30 + int(len(meaning) * _CHARACTER)
    return parts


def _bars(buckets: Sequence[Bucket], x: Callable[[float], float], top: float) -> list[str]:
    """Return the stacked bars of the buckets, as one path for each kind, which keeps the file small."""
    unit = _PLOT / _highest(buckets)
    paths: dict[str, list[str]] = {"served": [], "degraded": [], "failed": []}
    for number, bucket in enumerate(buckets):
        left, right = x(number * BUCKET_MS), x((number + 1) * BUCKET_MS)
        bottom = top + _PLOT
        for name, count in (("served", bucket.served), ("degraded", bucket.degraded), ("failed", bucket.failed)):
            if count:
                bottom -= count * unit
                paths[name].append(f"M{left:.1f} {bottom:.1f}H{right:.1f}v{count * unit:.1f}H{left:.1f}z")
    return [f'<path class="{name}" d="{"".join(parts)}"/>' for name, parts in paths.items() if parts]


def _axes(buckets: Sequence[Bucket], x: Callable[[float], float], top: float, span_ms: float) -> list[str]:
    bottom = top + _PLOT
    parts = [f'<path class="axis" d="M{_LEFT} {top}V{bottom}H{x(span_ms):.1f}"/>']
    parts.append(f'<text x="{_LEFT - 6}" y="{top + 9}" text-anchor="end">{_highest(buckets)}</text>')
    parts.append(f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>')
    for second in range(int(span_ms // 1000) + 1):
        at = x(second * 1000)
        parts.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{second}</text>')
    middle = (_LEFT + WIDTH) / 2
    words = f"seconds; calls per {BUCKET_MS} ms, by the moment at which they were due"
    return [*parts, f'<text x="{middle:.0f}" y="{bottom + 32}" text-anchor="middle">{words}</text>']


def _draw_labels(labels: Sequence[tuple[float, str, int]], top: float) -> list[str]:
    parts: list[str] = []
    for at, label, row in labels:
        y = 44 + _ROW * row
        kind = "mark" if label.startswith("+") else "event"
        parts.append(f'<path class="{kind}" d="M{at:.1f} {y}V{top + _PLOT}"/>')
        left = min(at + 3, WIDTH - len(label) * _CHARACTER)
        parts.append(f'<text x="{left:.1f}" y="{y + 9}">{escape(label)}</text>')
    return parts


def _first_of_each(marks: Sequence[Mark]) -> list[Mark]:
    """Return the first mark of each kind and source; of +sdown and +odown the first of all Sentinels."""
    found: dict[tuple[str, str], Mark] = {}
    for mark in sorted(marks, key=lambda mark: mark.at_ms):
        found.setdefault((mark.kind, "" if mark.kind in ("sdown", "odown") else mark.who), mark)
    return list(found.values())


def _place_labels(marks: Sequence[tuple[float, Mark]]) -> list[tuple[float, str, int]]:
    """Return each label with the first row in which it covers no other."""
    free_from: list[float] = []
    placed: list[tuple[float, str, int]] = []
    for at, mark in marks:
        label = f"{_LABELS[mark.kind]} {mark.who}".strip()
        row = next((number for number, free in enumerate(free_from) if free <= at), len(free_from))
        free_from[row : row + 1] = [at + len(label) * _CHARACTER + 8]
        placed.append((at, label, row))
    return placed


def _highest(buckets: Sequence[Bucket]) -> int:
    return max((bucket.served + bucket.degraded + bucket.failed for bucket in buckets), default=0) or 1
