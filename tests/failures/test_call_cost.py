"""The price of a store call in functions: their number is exact, and times are noise."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import tollhouse
from tests.failures.test_store import Server, store_on
from tollhouse.stores.store import Store

FUNCTIONS_MAX = 11
"""Functions of ours that one call enters, coroutines that it resumes included."""
_PACKAGE = str(Path(tollhouse.__file__).parent)


async def test_a_call_passes_few_functions(tmp_path: Path) -> None:
    """From the caller to the socket and back a call enters no function that it could do without."""
    async with store_on(tmp_path, Server(lambda _: b":1\r\n")) as store:
        await store.run("test/once", [], [])  # connects

        entered = min([await functions_entered(store) for _ in range(5)], key=len)  # in some of them the sweep runs

    assert len(entered) <= FUNCTIONS_MAX, entered


async def functions_entered(store: Store) -> list[str]:
    """Return the functions of the package that run from the start of a call to its reply."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            entered.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        await store.run("test/once", [], [])
    finally:
        sys.setprofile(None)
    return entered
