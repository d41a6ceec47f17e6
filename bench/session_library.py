"""A session library under measurement: what it does in its store, and the proof that it keeps sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct


async def _settled() -> None:
    """Do nothing: all of a verify is done when it has returned."""


class SessionLibrary(Struct, frozen=True, kw_only=True):
    """One library, called directly: only what it does in its store, with no request and no response around it.

    `create` begins a session of a user and returns what the client holds. `verify` does what a request of that client
    costs if it changes nothing, and returns something true if the client is logged in. `end` logs it out.
    `settle` returns when nothing of a verify is left to be done. `verifies_by` and `creates_by` are the commands that
    they send. A reference shows what a call costs, and is no competitor.
    """

    name: str
    create: Callable[[str], Awaitable[str]]
    verify: Callable[[str], Awaitable[Any]]
    end: Callable[[str], Awaitable[Any]]
    settle: Callable[[], Awaitable[None]] = _settled
    verifies_by: tuple[str, ...] = ("get", "set")
    creates_by: tuple[str, ...] = ("set",)
    own: bool = False
    reference: bool = False


async def check(library: SessionLibrary) -> None:
    """Raise unless it accepts a session from its creation until its end, and nothing that a client made up."""
    held = await library.create("ada")
    made_up = held[:-2] + ("aa" if held[-2:] != "aa" else "bb")
    given = [bool(await library.verify(held)), bool(await library.verify(made_up))]
    await library.end(held)
    given.append(bool(await library.verify(held)))
    await library.settle()
    if given != [True, False, False]:
        raise RuntimeError(f"{library.name} keeps no sessions: {given} for a live one, one made up, and one that ended")
