"""Copies of an error for callers that share it: an exception object that many tasks raise mixes their tracebacks."""

from __future__ import annotations

from types import TracebackType
from typing import Any, cast

from tollhouse.errors import LoadFailed


def copy_of(error: BaseException, traceback: TracebackType | None) -> BaseException:
    """Return another exception of the same type with the same content, cause and notes, and with this traceback.

    No code of the error's class runs: its constructor may take other arguments than those that it keeps. An exception
    that cannot be copied so is the cause of a LoadFailed.
    """
    base: Any = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    try:
        twin = _made_by(base, error)
    except (TypeError, ValueError):
        twin = LoadFailed(f"the load that was shared raised {type(error).__name__}")
        twin.__cause__ = error
        return twin
    twin.__dict__.update(error.__dict__)
    for name in ("args", "__cause__", "__context__", "__suppress_context__"):
        base.__setattr__(twin, name, getattr(error, name))
    return twin.with_traceback(traceback)


def _made_by(base: Any, error: BaseException) -> BaseException:
    """Return an exception that the nearest built-in class of an error's has made of the same arguments."""
    _, arguments, *state = base.__reduce__(error)
    twin = cast("BaseException", base.__new__(type(error), *arguments))
    base.__init__(twin, *arguments)
    for name, value in state[0].items() if state else ():
        if name not in error.__dict__:
            base.__setattr__(twin, name, value)
    return twin
