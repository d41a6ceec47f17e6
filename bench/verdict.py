"""Whether a target is reached, in the same words in every result."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct


class Verdict(Struct, frozen=True, kw_only=True):
    """A sentence with the figure and its target, and whether it is reached."""

    reached: bool
    text: str


def listed(verdicts: Iterable[Verdict]) -> str:
    """Return them as a Markdown list."""
    return "\n".join(f"- {'reached' if one.reached else 'MISSED'}: {one.text}" for one in verdicts)
