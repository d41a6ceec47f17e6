"""Functions that settings name as models: some answer, some cannot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

SEEN: list[Any] = []
"""The inputs of `count`, in order."""
GATE = threading.Event()
"""Opened at the end of a test that uses `blocked`."""
NUMBER = 3


def echo(value: Any) -> Any:
    return value


def count(value: Any) -> int:
    SEEN.append(value)
    return len(SEEN)


async def later(value: Any) -> Any:
    return {"later": value}


def fail(value: Any) -> Any:
    raise RuntimeError(f"cannot {value}")


def blocked(value: Any) -> Any:
    SEEN.append(value)
    GATE.wait()
    return value


def many(value: Any) -> Iterator[Any]:
    yield value


def two(value: Any, other: Any) -> Any:
    return value, other


class Answers:
    @staticmethod
    def upper(value: str) -> str:
        return value.upper()
