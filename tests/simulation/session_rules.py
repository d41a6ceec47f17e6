"""What no schedule may break of rotated secrets, disabled users and the data of sessions.

A rotation that was not durable may be lost with its server: then its token opens nothing, and the one before it does.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.findings import SLACK_S, End, Violation, clocks_differ_s, is_excused
from tests.simulation.history import Done, History, change_name, told
from tests.simulation.schedules import USERS
from tollhouse.sessions.outcomes import Issued, Rotation
from tollhouse.sessions.verbs.data_editor import DataResult

_FOREVER_S = float("inf")


def session_violations(history: History, end: End) -> Iterator[Violation]:
    """Yield every violation, the most serious first."""
    yield from _superseded(history, end)
    yield from _logins(history, end)
    yield from _statuses(history, end)
    yield from _data(history, end)


def may_be_lost(call: Done) -> bool:
    """Return whether a call may have left a session with a secret that no client holds.

    That is a rotation that had no answer, or a new token that is not durable.
    """
    if call.call.verb == "rotate":
        return call.outcome != "ok" or (isinstance(call.value, Rotation) and not call.value.durable)
    return (
        call.call.verb == "renew"
        and isinstance(call.value, Rotation)
        and call.value.token != call.token
        and not call.value.durable
    )


def _superseded(history: History, end: End) -> Iterator[Violation]:
    """Yield each token that opened its session after a durable rotation had replaced it."""
    accepted = [
        (done.call.session, history.chains[done.call.session].generation(done.token), done.began_s, done)
        for done in history.done
        if done.token is not None and done.outcome == "ok" and _opened(done)
    ]
    late = [
        (number, len(history.chains[number].generations) - 2, _FOREVER_S, None)
        for (_, number), found in end.superseded.items()
        if found is not None
    ]
    for number, generation, began_s, done in [*accepted, *late]:
        for rotated in _rotations(number, history):
            replaced = generation < history.chains[number].generation(rotated.value.token)
            if replaced and rotated.ended_s <= began_s:
                text = f"a former secret of #{number} was accepted at {began_s:.4f} s after: {told(rotated)}"
                excused = is_excused(rotated, done, history, end)
                yield Violation(rule="superseded-accepted", text=text, excused=excused)


def _opened(done: Done) -> bool:
    return isinstance(done.value, DataResult) if done.call.verb == "patch" else done.value is not None


def _rotations(number: int, history: History) -> Iterator[Done]:
    for done in history.done:
        answered = isinstance(done.value, Rotation) and done.value.durable
        if answered and done.call.verb == "rotate" and done.call.session == number:
            yield done


def _logins(history: History, end: End) -> Iterator[Violation]:
    """Yield each login of a user who was disabled durably, with no enabling that may have come after that."""
    logins = [
        (done.call.user, done.began_s, done.ended_s, done)
        for done in history.done
        if done.call.verb == "create" and isinstance(done.value, Issued)
    ]
    late = [(user, _FOREVER_S, _FOREVER_S, None) for user, accepted in end.logins.items() if accepted]
    for user, began_s, ended_s, done in [*logins, *late]:
        for disabled in _of(history, "disable", user):
            if not _is_durable(disabled) or disabled.ended_s > began_s:
                continue
            if any(on.began_s < ended_s and _may_follow(on, disabled) for on in _of(history, "enable", user)):
                continue
            text = f"user {user} logged in at {began_s:.4f} s after: {told(disabled)}"
            excused = is_excused(disabled, done, history, end)
            yield Violation(rule="disabled-user-logged-in", text=text, excused=excused)


def _statuses(history: History, end: End) -> Iterator[Violation]:
    """Yield each user who cannot log in at the end, and was not disabled, or was durably enabled after that."""
    for user in (user for user in range(USERS) if end.logins.get(user) is False):
        disablings = list(_of(history, "disable", user))
        if not disablings:
            yield Violation(rule="wrong-reply", text=f"user {user} is disabled, by no call")
        for enabled in filter(_is_durable, _of(history, "enable", user)):
            if not any(_may_follow(disabled, enabled) for disabled in disablings):
                text = f"user {user} is disabled at the end after: {told(enabled)}"
                yield Violation(rule="durable-status-lost", text=text, excused=enabled.ended_s <= end.forgotten_s)


def _of(history: History, verb: str, user: int) -> Iterator[Done]:
    return (done for done in history.done if done.call.verb == verb and done.call.user == user)


def _is_durable(done: Done) -> bool:
    return done.outcome == "ok" and done.value.durable


def _may_follow(later: Done, earlier: Done) -> bool:
    """Return whether a call may have been run after another one: one without an answer may run at any time."""
    return later.outcome != "ok" or later.ended_s + clocks_differ_s(earlier, later) > earlier.began_s


def _data(history: History, end: End) -> Iterator[Violation]:
    """Yield values that no call wrote, and changes that a server answered and does not have, though it stayed."""
    for number, found in end.data.items():
        if found is None:
            continue
        patches = [done for done in history.done if done.call.verb == "patch" and done.call.session == number]
        written = {change_name(done.call.number): done.call.number for done in patches}
        if not found.values.items() <= written.items():
            yield Violation(rule="wrong-reply", text=f"the data of #{number} is {dict(found.values)}")
        for done in patches:
            kept = isinstance(done.value, DataResult) and _stayed(done, history, end)
            if kept and change_name(done.call.number) not in found.values:
                yield Violation(rule="change-lost", text=told(done))


def _stayed(done: Done, history: History, end: End) -> bool:
    """Return whether the server of a call was a primary from before it to the end, and is the last process's."""
    if done.place != end.places[end.newest]:
        return False
    since_s, leads = end.roles[done.place][-1]
    adopted = [at_s for process, place, at_s in history.adopted if (process, place) == (done.process, done.place)]
    return leads and since_s + SLACK_S < done.began_s and min(adopted) < done.began_s
