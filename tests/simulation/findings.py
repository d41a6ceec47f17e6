"""What a run is judged by: the rules, what is found when all is well again, and what no client could prevent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from tests.simulation.cluster import SKEW_MS_MAX
from tests.simulation.history import Done, History
from tollhouse.sessions.records import Session
from tollhouse.sessions.verbs.data_editor import SessionData

Rule = Literal[
    "durable-session-lost",
    "durably-revoked-accepted",
    "superseded-accepted",
    "durable-status-lost",
    "disabled-user-logged-in",
    "change-lost",
    "own-revocation-accepted",
    "not-replayed",
    "wrong-reply",
    "deadline",
    "generation",
    "not-a-primary",
    "unreplicated",
    "defect",
    "left-over",
    "no-recovery",
    "stuck",
]
EXCUSABLE: Final[frozenset[Rule]] = frozenset(
    {
        "durable-session-lost",
        "durably-revoked-accepted",
        "superseded-accepted",
        "durable-status-lost",
        "disabled-user-logged-in",
    }
)
"""The rules whose violation a schedule outside the fault model explains."""
SLACK_S: Final = 0.001


class Violation(Struct, frozen=True, kw_only=True):
    """A rule, and how it was broken."""

    rule: Rule
    text: str
    excused: bool = False
    """No client could prevent it."""


class End(Struct, frozen=True, kw_only=True):
    """What was found when everything was well again: the verified sessions by process and call, None if it failed.

    `verified` is of the latest tokens, `superseded` of those before the last rotation. `data` and `logins`, by call and
    by user, are what the last process, which is new, was answered. `places` are the primaries that the processes use:
    for a while after a failover these may be two.
    """

    verified: Mapping[tuple[int, int], Session | None]
    failures: tuple[str, ...]
    left_over: tuple[str, ...]
    lost: tuple[str, ...]
    superseded: Mapping[tuple[int, int], Session | None] = {}
    data: Mapping[int, SessionData | None] = {}
    logins: Mapping[int, bool] = {}
    """Whether a user could log in."""
    places: Mapping[int, str] = {}
    roles: Mapping[str, Sequence[tuple[float, bool]]] = {}
    """Since when each server was a primary, or was none."""
    forgotten_s: float = -1
    """What was confirmed until then may be lost: a server that did not follow since then was promoted."""
    acks_s: Mapping[str, Sequence[float]] = {}
    """When replicas of each server acknowledged."""
    max_unreplicated_ms: int | None = None

    @property
    def newest(self) -> int:
        """Return the number of the last process."""
        return max((process for process, _ in self.verified), default=-1)


def clocks_differ_s(first: Done, second: Done) -> float:
    """Return by how much the order of two calls is uncertain, of which the second may be repeated elsewhere."""
    return 0 if second.value.durable or second.place == first.place else 2 * SKEW_MS_MAX / 1000


def is_excused(written: Done, read: Done | None, history: History, end: End) -> bool:
    """Return whether no client could prevent that a call, None for those at the end, did not see a durable one.

    A process that is cut off together with a former primary cannot learn of what happened on the next one; with
    `max_unreplicated_ms` for no longer than that.
    """
    if written.ended_s <= end.forgotten_s:
        return True
    return read is not None and read.cut_off and read.place != written.place and is_trusted(read, history, end)


def is_trusted(done: Done, history: History, end: End) -> bool:
    """Return whether the process may use the server of a call: one of its replicas acknowledged within the bound.

    The bound begins with its first connection, so with its first call that had an answer, and with each adoption.
    """
    if end.max_unreplicated_ms is None:
        return True
    first_s = min(one.began_s for one in history.done if one.process == done.process and one.outcome == "ok")
    adopted = [at_s for process, place, at_s in history.adopted if (process, place) == (done.process, done.place)]
    since_s = done.began_s - end.max_unreplicated_ms / 1000 - SLACK_S
    return any(since_s <= at_s <= done.ended_s for at_s in (*end.acks_s[done.place], *adopted, first_s))
