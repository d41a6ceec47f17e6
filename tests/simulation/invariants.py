"""The invariants: what no schedule inside the fault model may break. Each takes the history of calls and the end state.

A durable answer is judged strictly, and what was never answered is judged for nothing: a call that failed or was
cancelled may have run, may run later, or never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

from msgspec import Struct

from tests.simulation.clients import DEADLINE_S, Done, History, device_of, shown, user_name
from tests.simulation.cluster import SKEW_MS_MAX
from tollhouse.sessions.outcomes import Issued
from tollhouse.sessions.records import Session

Rule = Literal[
    "durable-session-lost",
    "durably-revoked-accepted",
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
EXCUSABLE: Final[frozenset[Rule]] = frozenset({"durable-session-lost", "durably-revoked-accepted"})
"""The rules whose violation a schedule outside the fault model explains."""
_ADOPTION_S: Final = 1.0
"""What a server has reported may be so old when it is adopted."""
_SLACK_S: Final = 0.001
_RUNS: Final = {"create": 1, "verify": 1, "list": 2, "revoke": 2, "revoke_all": 2}
"""Each run of a script has its own deadline: a list has two, a revocation that met a replay is repeated once."""


class Violation(Struct, frozen=True, kw_only=True):
    """A rule, and how it was broken."""

    rule: Rule
    text: str
    excused: bool = False
    """No client could prevent it."""


class End(Struct, frozen=True, kw_only=True):
    """What was found when everything was well again: the verified sessions by process and call, None if it failed.

    `places` are the primaries that the processes use: for a while after a failover these may be two.
    """

    verified: Mapping[tuple[int, int], Session | None]
    failures: tuple[str, ...]
    left_over: tuple[str, ...]
    lost: tuple[str, ...]
    places: Mapping[int, str] = {}
    roles: Mapping[str, Sequence[tuple[float, bool]]] = {}
    """Since when each server was a primary, or was none."""
    forgotten_s: float = -1
    """What was confirmed until then may be lost: a server that did not follow since then was promoted."""
    acks_s: Mapping[str, Sequence[float]] = {}
    """When replicas of each server acknowledged."""
    max_unreplicated_ms: int | None = None


def violations(history: History, end: End) -> list[Violation]:
    """Return every violation, the most serious first."""
    return [
        *_lost_sessions(history, end),
        *_accepted_sessions(history, end),
        *_wrong_replies(history, end),
        *_late_calls(history),
        *_generations(history),
        *_adoptions(history, end),
        *_unreplicated(history, end),
        *(Violation(rule="defect", text=_told(done)) for done in history.done if done.outcome == "defect"),
        *(Violation(rule="defect", text=text) for text in end.lost),
        *(Violation(rule="left-over", text=text) for text in end.left_over),
        *(Violation(rule="no-recovery", text=text) for text in end.failures),
    ]


def _lost_sessions(history: History, end: End) -> Iterator[Violation]:
    """Yield each session that was answered durable, that nothing may have ended, and that does not exist."""
    for created in (done for done in history.done if done.call.verb == "create" and isinstance(done.value, Issued)):
        unknown = [
            str(process)
            for (process, number), found in end.verified.items()
            if number == created.call.number and found is None
        ]
        if unknown and created.value.durable and not _may_have_ended(created, history.done):
            text = f"unknown to processes {', '.join(unknown)}: {_told(created)}"
            excused = created.ended_s <= end.forgotten_s
            yield Violation(rule="durable-session-lost", text=text, excused=excused)


def _may_have_ended(created: Done, calls: Iterable[Done]) -> bool:
    """Return whether a revocation may have ended the session: one that began later, or that does not tell the order.

    A revoke-all that its primary lost is repeated on the next one with its time by the lost primary's clock. It ends
    sessions that began there until then, by the clock of the next primary.
    """
    return any(
        call.call.session == created.call.number
        if call.call.verb == "revoke"
        else call.call.verb == "revoke_all"
        and call.call.user == created.call.user
        and (call.outcome != "ok" or created.began_s <= call.ended_s + _clocks_differ_s(created, call))
        for call in calls
    )


def _clocks_differ_s(created: Done, revoked: Done) -> float:
    return 0 if revoked.value.durable or revoked.place == created.place else 2 * SKEW_MS_MAX / 1000


def _accepted_sessions(history: History, end: End) -> Iterator[Violation]:
    """Yield each session that was accepted after its revocation was answered.

    A process that is cut off together with a former primary cannot learn of a revocation on the next one: what it
    accepts from there is counted apart, with `max_unreplicated_ms` for no longer than that.
    What is not durable may be lost with its server, until its process reaches the next primary and replays it there:
    those that live and use the primary of the last process, which is new, have done so when that one verifies.
    """
    newest = max((process for process, _ in end.verified), default=-1)
    there = {process for process, _ in end.verified if end.places.get(process) == end.places.get(newest)}
    accepted = [
        (done.process, done.call.session, done.began_s, done)
        for done in history.done
        if done.call.verb == "verify" and done.outcome == "ok" and done.value is not None
    ]
    late = [
        (process, number, float("inf"), None) for (process, number), found in end.verified.items() if found is not None
    ]
    for process, number, began_s, done in [*accepted, *late]:
        for revoked in _revocations(number, history):
            if revoked.ended_s > began_s:
                continue
            text = f"process {process} accepted #{number} at {began_s:.4f} s after: {_told(revoked)}"
            if revoked.value.durable:
                excused = revoked.ended_s <= end.forgotten_s or (
                    done is not None
                    and done.cut_off
                    and done.place != revoked.place
                    and _is_trusted(done, history, end)
                )
                yield Violation(rule="durably-revoked-accepted", text=text, excused=excused)
            elif process == revoked.process:
                yield Violation(rule="own-revocation-accepted", text=text)
            elif began_s == float("inf") and process == newest and revoked.process in there:
                yield Violation(rule="not-replayed", text=text)


def _revocations(number: int, history: History) -> Iterator[Done]:
    """Yield the calls that were answered and that ended the session, also by the clocks of two primaries."""
    created = next(done for done in history.done if done.call.number == number)
    for done in history.done:
        if done.outcome != "ok":
            continue
        if done.call.verb == "revoke" and done.call.session == number and done.value.found:
            yield done
        if done.call.verb == "revoke_all" and done.call.user == created.call.user and _is_later(created, done):
            yield done


def _is_later(created: Done, revoked: Done) -> bool:
    return created.ended_s + _clocks_differ_s(created, revoked) < revoked.began_s


def _wrong_replies(history: History, end: End) -> Iterator[Violation]:
    """Yield each reply that belongs to another call: sessions carry their user and a label of their own."""
    found = [
        (done.call.session, done.call.user, done.value)
        for done in history.done
        if done.call.verb == "verify" and done.outcome == "ok" and done.value is not None
    ]
    users = {done.call.number: done.call.user for done in history.done}
    found += [(number, users[number], value) for (_, number), value in end.verified.items() if value is not None]
    for number, user, session in found:
        if (session.device, session.user) != (device_of(number), user_name(user)):
            yield Violation(rule="wrong-reply", text=f"#{number} of user {user} was answered with {session}")
    for done in history.done:
        if done.call.verb == "list" and done.outcome == "ok":
            mine = {device_of(number) for number, user in users.items() if user == done.call.user}
            yield from (
                Violation(rule="wrong-reply", text=f"{session.device} is listed by {_told(done)}")
                for session in done.value
                if session.device not in mine and session.device in {device_of(number) for number in users}
            )


def _late_calls(history: History) -> Iterator[Violation]:
    for done in history.done:
        bound_s = DEADLINE_S * _RUNS[done.call.verb]
        if done.call.cancel_ms is not None:
            bound_s = min(bound_s, done.call.cancel_ms / 1000)
        if done.ended_s - done.began_s > bound_s + _SLACK_S:
            yield Violation(rule="deadline", text=_told(done))


def _generations(history: History) -> Iterator[Violation]:
    """Yield each generation that is older than the one before, or that has two primaries."""
    latest: dict[int, tuple[int, str]] = {}
    for process, number, address in history.generations:
        before, place = latest.get(process, (0, ""))
        if number < before or (number == before and address != place):
            text = f"process {process} went from generation {before} at {place} to {number} at {address}"
            yield Violation(rule="generation", text=text)
        latest[process] = (number, address)


def _adoptions(history: History, end: End) -> Iterator[Violation]:
    """Yield each adoption of a server that was no primary in the second before."""
    for process, place, at_s in history.adopted:
        roles = [*end.roles[place], (float("inf"), False)]
        periods = [(since_s, until_s) for (since_s, leads), (until_s, _) in pairwise(roles) if leads]
        if not any(since_s <= at_s and until_s >= at_s - _ADOPTION_S for since_s, until_s in periods):
            text = f"process {process} adopted {place} at {at_s:.4f} s, a server that was no primary"
            yield Violation(rule="not-a-primary", text=text)


def _unreplicated(history: History, end: End) -> Iterator[Violation]:
    """Yield each write taken as done from a server that no replica had acknowledged for longer than the bound."""
    for done in history.done:
        writes = done.outcome == "ok" and done.call.verb in ("create", "revoke", "revoke_all")
        if writes and not _is_trusted(done, history, end):
            yield Violation(rule="unreplicated", text=f"at {done.place}: {_told(done)}")


def _is_trusted(done: Done, history: History, end: End) -> bool:
    """Return whether the process may use the server of a call: one of its replicas acknowledged within the bound.

    The bound begins with its first connection, so with its first call that had an answer, and with each adoption.
    """
    if end.max_unreplicated_ms is None:
        return True
    first_s = min(one.began_s for one in history.done if one.process == done.process and one.outcome == "ok")
    adopted = [at_s for process, place, at_s in history.adopted if (process, place) == (done.process, done.place)]
    since_s = done.began_s - end.max_unreplicated_ms / 1000 - _SLACK_S
    return any(since_s <= at_s <= done.ended_s for at_s in (*end.acks_s[done.place], *adopted, first_s))


def _told(done: Done) -> str:
    call = done.call
    about = f" of #{call.session}" if call.session else ""
    return (
        f"#{call.number} {call.verb}{about} by process {done.process}, {done.began_s:.4f} to {done.ended_s:.4f} s:"
        f" {done.outcome} {shown(done.value)}"
    )
