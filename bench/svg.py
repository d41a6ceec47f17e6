"""A chart of bars as SVG: panels of figures side by side or below each other, with the spread of each as a line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from msgspec import Struct

from tollhouse.drill.report.chart import WIDTH, document

_LABELS = 330
"""Width of the names, at the left."""
_VALUES = 90
"""Width of the figures, behind the longest bar."""
_ROW = 18
_BAR = 12
_TOP = 34
_GAP = 40
_STYLE = """\
text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #24292f }
.own { fill: #2da44e } .other { fill: #8c959f } .spread { stroke: #24292f; stroke-opacity: .6 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .own { fill: #3fb950 } .other { fill: #6e7681 } .spread { stroke: #e6edf3 }
}"""


class Bar(Struct, frozen=True, kw_only=True):
    """One figure, its extremes and the text behind it; our own are coloured."""

    name: str
    value: float
    lowest: float
    highest: float
    text: str
    own: bool


class Panel(Struct, frozen=True, kw_only=True):
    """Bars on one scale, drawn in their order."""

    title: str
    bars: Sequence[Bar]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """Return the chart as SVG."""
    parts: list[str] = []
    top = _TOP
    for panel in panels:
        parts += _panel(panel, top)
        top += _GAP + _ROW * len(panel.bars)
    return document(title, parts, style=_STYLE, left=0, height=top)


def _panel(panel: Panel, top: int) -> list[str]:
    unit = (WIDTH - _LABELS - _VALUES) / max(bar.highest for bar in panel.bars)
    parts = [f'<text x="{_LABELS}" y="{top + 12}" font-weight="600">{escape(panel.title)}</text>']
    for number, bar in enumerate(panel.bars, 1):
        y = top + _ROW * number
        middle, left, right = y + _BAR / 2, _LABELS + bar.lowest * unit, _LABELS + bar.highest * unit
        kind = "own" if bar.own else "other"
        parts += [
            f'<text x="{_LABELS - 8}" y="{y + 10}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{bar.value * unit:.1f}" height="{_BAR}"/>',
            f'<path class="spread" d="M{left:.1f} {middle}H{right:.1f}"/>',
            f'<text x="{right + 6:.1f}" y="{y + 10}">{escape(bar.text)}</text>',
        ]
    return parts
