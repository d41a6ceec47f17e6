"""Whether a bar is reached, said the same way in every result."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct


class Verdict(Struct, frozen=True, kw_only=True):
    """A sentence that says what was found and what was asked for, and whether that is enough."""

    reached: bool
    text: str


def listed(verdicts: Iterable[Verdict]) -> str:
    """Give them as a Markdown list."""
    return "\n".join(f"- {'reached' if one.reached else 'MISSED'}: {one.text}" for one in verdicts)
