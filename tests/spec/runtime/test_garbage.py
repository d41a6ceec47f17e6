"""Decoders of large data."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tollhouse.runtime.collector import YOUNG_OBJECTS
from tollhouse.runtime.garbage import LARGE_BYTES, decode_undisturbed

LARGE = b"[" + b"[]," * LARGE_BYTES + b"0]"


@pytest.fixture
def searches() -> Iterator[list[int]]:
    """The generations that were searched for garbage."""
    seen: list[int] = []

    def count(phase: str, info: Any) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(count)
    yield seen
    gc.callbacks.remove(count)


def test_large_data_are_decoded_without_a_search_for_garbage(searches: list[int]) -> None:
    """Neither while the objects are made, nor for them afterwards: they count as old."""
    value = decode_undisturbed(msgspec.json.decode, LARGE)

    assert len(value) == LARGE_BYTES + 1
    assert searches == []
    assert len(gc.get_objects(generation=0)) + len(gc.get_objects(generation=1)) < 1_000
    assert len(gc.get_objects(generation=2)) > LARGE_BYTES


@pytest.mark.parametrize("data", [b"[]", LARGE, b"[", LARGE[:-1]], ids=["short", "long", "wrong", "long and wrong"])
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_collector_is_left_as_an_application_chose(data: bytes, enabled: bool, frozen: bool) -> None:
    """On or off, with frozen objects or without, and also if the data cannot be decoded."""
    was_frozen = gc.get_freeze_count()
    if frozen:
        gc.freeze()
    if not enabled:
        gc.disable()
    try:
        count = gc.get_freeze_count()
        try:
            decode_undisturbed(msgspec.json.decode, data)
        except msgspec.DecodeError:
            assert not data.endswith(b"]") or data == LARGE[:-1]

        assert gc.isenabled() == enabled
        assert (gc.get_freeze_count() > was_frozen) == (count > was_frozen)
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize(("threshold", "searches_go_on"), [(YOUNG_OBJECTS, True), (YOUNG_OBJECTS - 1, False)])
def test_a_process_with_rare_searches_decodes_as_usual(threshold: int, searches_go_on: bool) -> None:
    """To count its frozen objects takes longer than a search of the young ones."""
    before = gc.get_threshold()
    gc.set_threshold(threshold, *before[1:])
    try:
        assert decode_undisturbed(lambda _: gc.isenabled(), LARGE) == searches_go_on
    finally:
        gc.set_threshold(*before)
