"""The wait-for graph of the loads of this process: a wait that would never end is an error.

Its nodes are loads. A load waits for another one while its loader, or a task that its loader has started, waits for
the value of that one. A wait that would close a circle is refused with LoadFailed: so a loader cannot read the key
that it loads, neither directly nor over other keys, and two loads cannot wait for each other.

The load that a caller belongs to is in its context. Of a circle over several processes only a part is seen here; the
bounds of waiting end it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Final

from tollhouse.errors import LoadFailed


class RunningLoad:
    """A load in progress. Loads of one key of one `owner` have the same digest; errors name the `family`."""

    __slots__ = ("_ended", "_parent", "_waits_for", "digest", "family", "owner")

    def __init__(self, owner: object, digest: str, family: str) -> None:
        self.owner = owner
        self.digest = digest
        self.family = family
        self._parent = _CURRENT.get()
        self._ended = False
        self._waits_for: dict[RunningLoad, int] = {}

    def context(self) -> Context:
        """Return a copy of the caller's context that belongs to this load."""
        context = copy_context()
        context.run(_CURRENT.set, self)
        return context

    @contextmanager
    def inside(self) -> Generator[None, None, None]:
        """Make the code of a `with` block belong to this load, which ends with it."""
        with self.awaited():
            token = _CURRENT.set(self)
            try:
                yield
            finally:
                _CURRENT.reset(token)
                self.end()

    @contextmanager
    def awaited(self) -> Generator[None, None, None]:
        """Record that the caller waits for this load in a `with` block; raise LoadFailed if it would wait for ever."""
        waiter = _CURRENT.get()
        if waiter is None or waiter._ended:
            yield
            return
        circle = self._path_to(waiter)
        if circle:
            raise _refusal(circle)
        waiter._waits_for[self] = waiter._waits_for.get(self, 0) + 1
        try:
            yield
        finally:
            waiter._waits_for[self] -= 1
            if waiter._waits_for[self] == 0:
                del waiter._waits_for[self]

    def require_no_recursion(self) -> None:
        """Raise LoadFailed if the caller belongs to a load of the same key, which would begin again and again."""
        within: list[RunningLoad] = [self]
        while (load := within[-1]._parent) is not None:
            within.append(load)
            if load.digest == self.digest and load.owner is self.owner and not load._ended:
                raise _refusal(within)

    def end(self) -> None:
        """Take the load out of the graph; contexts that outlive it keep nothing else alive."""
        self._ended = True
        self._parent = None

    def _path_to(self, target: RunningLoad) -> list[RunningLoad]:
        """Return the loads on a way from this one to another, both included; none if there is no way."""
        came_from: dict[RunningLoad, RunningLoad | None] = {self: None}
        waiting: list[RunningLoad] = [self]
        while waiting:
            load = waiting.pop()
            if load is target:
                path: list[RunningLoad] = [load]
                while (before := came_from[path[-1]]) is not None:
                    path.append(before)
                return path
            ahead = [other for other in load._waits_for if other not in came_from and not other._ended]
            came_from.update(dict.fromkeys(ahead, load))
            waiting.extend(ahead)
        return []


_CURRENT: Final[ContextVar[RunningLoad | None]] = ContextVar("tollhouse_load", default=None)
"""The load that the code belongs to, if it is called by a loader."""


def _refusal(circle: list[RunningLoad]) -> LoadFailed:
    families = " and ".join(sorted({repr(load.family) for load in circle}))
    return LoadFailed(
        f"a load of {families} would wait for itself: a loader must not read the key that it loads, "
        "directly or over other keys"
    )
