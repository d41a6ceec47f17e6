"""The search for cyclic garbage in a process that serves."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tollhouse import tune_gc
from tollhouse.runtime.collector import YOUNG_OBJECTS


class Node:
    """An object that is garbage only for a search: it refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """The process, which has its own thresholds again afterwards, and no frozen objects."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


def test_later_searches_visit_new_objects_only() -> None:
    """A full search after it visits none of those that it met."""
    tune_gc()

    assert gc.get_freeze_count() > YOUNG_OBJECTS
    assert len(gc.get_objects()) < 1_000


def test_garbage_is_freed_and_not_kept() -> None:
    """A cycle that is garbage already is freed by the call."""
    gone = weakref.ref(Node())

    tune_gc()

    assert gone() is None


def test_another_call_takes_back_what_was_exempted() -> None:
    """A cycle that became garbage after one call stays, and is freed by the next one."""
    node = Node()
    tune_gc()
    gone = weakref.ref(node)
    del node

    gc.collect()
    assert gone() is not None
    tune_gc()

    assert gone() is None


def test_a_cycle_that_is_made_later_is_found() -> None:
    """Without a word of the application, once there are enough new objects."""
    tune_gc()
    gone = weakref.ref(Node())

    kept = [[] for _ in range(2 * YOUNG_OBJECTS)]

    assert len(kept) == 2 * YOUNG_OBJECTS
    assert gone() is None


@pytest.mark.parametrize(
    ("before", "after"),
    [(700, YOUNG_OBJECTS), (2_000, YOUNG_OBJECTS), (YOUNG_OBJECTS + 1, YOUNG_OBJECTS + 1), (0, 0)],
)
def test_searches_of_the_young_become_rarer_and_never_more_frequent(before: int, after: int) -> None:
    """The first threshold is raised; one that is higher stays, and 0, which means no search at all."""
    others = gc.get_threshold()[1:]
    gc.set_threshold(before, *others)

    tune_gc()

    assert gc.get_threshold() == (after, *others)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_search_that_is_off_stays_off(enabled: bool) -> None:
    """And one that is on stays on."""
    if not enabled:
        gc.disable()

    tune_gc()

    assert gc.isenabled() == enabled
