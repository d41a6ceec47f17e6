"""Decoders of large data beside the search for cyclic garbage, which holds the interpreter longer than they do."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, TypeVar

from tollhouse.runtime.collector import YOUNG_OBJECTS

T = TypeVar("T")

LARGE_BYTES: Final = 64 * 1024
"""Less data make few objects."""


def decode_undisturbed(decode: Callable[[bytes], T], data: bytes) -> T:
    """Return what a decoder makes of data, and search for no garbage among the objects that it makes.

    A search begins with every 700th object, and another with the next object after the decoder: of a MiB of empty
    arrays each took four times as long as decoding it. Decoded values have no cycles, and most are soon released, so
    their objects count as old ones, which are searched rarely. An application's own choices for the collector stay. In
    a process where searches are rare it decodes as usual: to count frozen objects takes longer than what it would save.
    """
    if len(data) <= LARGE_BYTES or not gc.isenabled() or gc.get_threshold()[0] >= YOUNG_OBJECTS:
        return decode(data)
    gc.disable()
    try:
        return decode(data)
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()  # both only join lists: what was young is old now
        gc.enable()
