"""A limiter under measurement: the call that takes a unit of a subject, and the proof that it limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

SUBJECTS = tuple(f"customer-{number}" for number in range(10_000))
LIMIT = 1_000
"""Units an hour of each subject while takes are measured: enough that all are admitted."""
STRICT = 3
"""Units an hour when a limiter has to show that it refuses."""

Ask = Callable[[str], Awaitable[Any]]


class Contender(Struct, frozen=True, kw_only=True):
    """One limiter with one algorithm, called directly: no layer of the benchmark stands in between.

    `ask` takes one unit of a subject under `LIMIT`, `strict` under `STRICT`; `admitted` reads their replies. `commands`
    are those that a take sends. `fill`, if it is not None, puts subjects into the state that is to be measured.
    """

    library: str
    algorithm: str
    ask: Ask
    strict: Ask
    admitted: Callable[[Any], bool]
    commands: tuple[str, ...] = ("evalsha",)
    fill: Callable[[Sequence[str]], Awaitable[None]] | None = None

    @property
    def name(self) -> str:
        return f"{self.library}: {self.algorithm}"


async def check(contender: Contender) -> None:
    """Raise unless it admits exactly `STRICT` takes of a subject, and goes on to admit those of another."""
    given = [contender.admitted(await contender.strict("somebody")) for _ in range(STRICT + 2)]
    other = contender.admitted(await contender.strict("somebody-else"))
    if given != [True] * STRICT + [False] * 2 or not other:
        raise RuntimeError(f"{contender.name} does not limit to {STRICT} an hour: {given}, {other}")
