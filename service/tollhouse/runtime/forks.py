"""Forks: what a forked child must forget because it is its parent's, such as threads, locks and ends of pipes."""

from __future__ import annotations

import os
from functools import cache
from typing import Final, Protocol
from weakref import WeakSet


class Forgetful(Protocol):
    """An object that a forked child cannot use as its parent does."""

    def forget(self) -> None:
        """Drop what is the parent's. Only the thread that forked exists in the child, so no lock may be taken."""
        ...


_inherited: Final[WeakSet[Forgetful]] = WeakSet()


def forget_in_children(owner: Forgetful) -> None:
    """Call `owner.forget()` first in every child that this process forks, for as long as `owner` exists."""
    _watch_forks()
    _inherited.add(owner)


@cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:  # pragma: no cover - runs in forked children, which are not measured
    for owner in tuple(_inherited):
        owner.forget()
