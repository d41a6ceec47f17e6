"""The price of a store call and of a take in functions: their number is exact, and times are noise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import tollhouse
from tests.failures.test_store import Server, store_on
from tollhouse.keyring import Keyring
from tollhouse.limits.limiter import Limiter
from tollhouse.limits.policy.notation import parse_policy
from tollhouse.metrics import Metrics
from tollhouse.scripts import load

CALL_MAX = 11
"""Functions of ours that one call enters, coroutines that it resumes included."""
TAKE_MAX = 32
"""Those that one take alone enters, its call included."""
JOINT_TAKE_MAX = 14
"""Those that each of fifty takes that share a call enters, its part of the call included."""
TOGETHER = 50
TAKE = {name: script for name, script in load().items() if name in ("limits/take", "limits/take_one")}
_PACKAGE = str(Path(tollhouse.__file__).parent)


async def test_a_call_passes_few_functions(tmp_path: Path) -> None:
    """From the caller to the socket and back a call enters no function that it could do without."""
    async with store_on(tmp_path, Server(lambda _: b":1\r\n")) as store:
        entered = await functions_entered(lambda: store.run("test/once", [], []))

    assert len(entered) <= CALL_MAX, entered


async def test_a_take_alone_passes_few_functions(tmp_path: Path) -> None:
    """A take that no other one joins pays for no batch."""
    async with store_on(tmp_path, Server(lambda _: b":-11880198\r\n"), scripts=TAKE) as store:
        limiter = Limiter(store, {"api": parse_policy("api", "100/minute")}, Keyring(), Metrics())
        entered = await functions_entered(lambda: limiter.take("api", "ada"))

    assert len(entered) <= TAKE_MAX, entered


async def test_a_take_among_others_passes_few_functions(tmp_path: Path) -> None:
    """What fifty takes that share a call enter for each of them has a bound."""
    async with store_on(tmp_path, Server(lambda _: reply_to(TOGETHER)), scripts=TAKE) as store:
        limiter = Limiter(store, {"api": parse_policy("api", "100/minute")}, Keyring(), Metrics())
        keys = [f"user-{number}" for number in range(TOGETHER)]
        entered = await functions_entered(lambda: asyncio.gather(*(limiter.take("api", key) for key in keys)))

    assert len(entered) / TOGETHER <= JOINT_TAKE_MAX, entered


def reply_to(takes: int) -> bytes:
    """Return the reply of a server that admits some takes under one limit."""
    return b"*%d\r\n:0\r\n:0\r\n" % (2 + takes) + b":-11880198\r\n" * takes


async def functions_entered(act: Callable[[], Awaitable[Any]]) -> list[str]:
    """Return the functions of the package that run from the start of an act to its end, the least of several times."""
    for _ in range(3):
        await act()  # connects, and fills the caches
    return min([await _entered_once(act) for _ in range(5)], key=len)  # in some of them the sweep runs


async def _entered_once(act: Callable[[], Awaitable[Any]]) -> list[str]:
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            entered.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        await act()
    finally:
        sys.setprofile(None)
    return entered
