"""The invariants: what no schedule inside the fault model may break. Each takes the history of calls and the end state.

A durable answer is judged strictly, and what was never answered is judged for nothing: a call that failed or was
cancelled may have run, may run later, or never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from tests.simulation.clients import DEADLINE_S
from tests.simulation.findings import SLACK_S, End, Violation, clocks_differ_s, is_excused, is_trusted
from tests.simulation.history import Done, History, device_of, told, user_name
from tests.simulation.session_rules import may_be_lost, session_violations
from tollhouse.sessions.outcomes import Issued, Rotation
from tollhouse.sessions.verbs.data_editor import DataRefused

_ADOPTION_S: Final = 1.0
"""What a server has reported may be so old when it is adopted."""
_RUNS: Final = {"list": 2, "revoke": 2, "revoke_all": 2, "disable": 4, "enable": 2}
"""Each run of a script has its own deadline: a list has two, a revocation that met a replay is repeated once."""
_ALL: Final = frozenset({"revoke_all", "disable"})
"""The verbs that end all sessions of a user."""
_WRITES: Final = frozenset({"create", "revoke", "revoke_all", "rotate", "renew", "disable", "enable", "patch"})


def violations(history: History, end: End) -> list[Violation]:
    """Return every violation, the most serious first."""
    return [
        *_lost_sessions(history, end),
        *_accepted_sessions(history, end),
        *session_violations(history, end),
        *_wrong_replies(history, end),
        *_late_calls(history),
        *_generations(history),
        *_adoptions(history, end),
        *_unreplicated(history, end),
        *(Violation(rule="defect", text=told(done)) for done in history.done if done.outcome == "defect"),
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
            text = f"unknown to processes {', '.join(unknown)}: {told(created)}"
            excused = created.ended_s <= end.forgotten_s
            yield Violation(rule="durable-session-lost", text=text, excused=excused)


def _may_have_ended(created: Done, calls: Iterable[Done]) -> bool:
    """Return whether a call may have ended the session or lost its secret.

    A revocation may if it began later, or does not tell the order.

    A revoke-all that its primary lost is repeated on the next one with its time by the lost primary's clock. It ends
    sessions that began there until then, by the clock of the next primary.
    """
    return any(_may_end(call, created) for call in calls)


def _may_end(call: Done, created: Done) -> bool:
    if call.call.verb in ("revoke", "rotate", "renew"):
        return call.call.session == created.call.number and (call.call.verb == "revoke" or may_be_lost(call))
    return (
        call.call.verb in _ALL
        and call.call.user == created.call.user
        and (call.outcome != "ok" or created.began_s <= call.ended_s + clocks_differ_s(created, call))
    )


def _accepted_sessions(history: History, end: End) -> Iterator[Violation]:
    """Yield each session that was accepted after its revocation was answered.

    What is not durable may be lost with its server, until its process reaches the next primary and replays it there:
    those that live and use the primary of the last process, which is new, have done so when that one verifies.
    """
    newest = end.newest
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
            text = f"process {process} accepted #{number} at {began_s:.4f} s after: {told(revoked)}"
            if revoked.value.durable:
                excused = is_excused(revoked, done, history, end)
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
        if done.call.verb in _ALL and done.call.user == created.call.user and _is_later(created, done):
            yield done


def _is_later(created: Done, revoked: Done) -> bool:
    return created.ended_s + clocks_differ_s(created, revoked) < revoked.began_s


def _wrong_replies(history: History, end: End) -> Iterator[Violation]:
    """Yield each reply that belongs to another call: sessions carry their user and a label of their own."""
    found = [
        (done.call.session, done.call.user, done.value)
        for done in history.done
        if done.call.verb == "verify" and done.outcome == "ok" and done.value is not None
    ]
    found += [
        (done.call.session, done.call.user, done.value.session)
        for done in history.done
        if isinstance(done.value, Rotation)
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
                Violation(rule="wrong-reply", text=f"{session.device} is listed by {told(done)}")
                for session in done.value
                if session.device not in mine and session.device in {device_of(number) for number in users}
            )


def _late_calls(history: History) -> Iterator[Violation]:
    for done in history.done:
        bound_s = DEADLINE_S * _RUNS.get(done.call.verb, 1)
        if done.call.cancel_ms is not None:
            bound_s = min(bound_s, done.call.cancel_ms / 1000)
        if done.ended_s - done.began_s > bound_s + SLACK_S:
            yield Violation(rule="deadline", text=told(done))


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
        writes = done.outcome == "ok" and done.call.verb in _WRITES
        if (
            writes
            and done.value is not None
            and not isinstance(done.value, DataRefused)
            and not is_trusted(done, history, end)
        ):
            yield Violation(rule="unreplicated", text=f"at {done.place}: {told(done)}")
