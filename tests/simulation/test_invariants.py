"""The invariants can fail: each has a history that breaks it, and one beside it that does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.simulation.findings import End, Rule
from tests.simulation.history import Done, History, device_of, user_name
from tests.simulation.invariants import violations
from tests.simulation.schedules import Call, Verb
from tollhouse.sessions.outcomes import Issued, Rotation
from tollhouse.sessions.records import Session
from tollhouse.sessions.revoker import RevokeAllResult, RevokeResult
from tollhouse.sessions.tokens import Token
from tollhouse.sessions.verbs.data_editor import DataResult, SessionData
from tollhouse.sessions.verbs.disabler import DisableResult, EnableResult


def _session(number: int, user: int = 0) -> Session:
    return Session(
        sid="a" * 26,
        user=user_name(user),
        policy="default",
        device=device_of(number),
        created_at=1,
        last_seen_at=1,
        expires_at=2,
        idle_expires_at=2,
        authenticated_at=1,
    )


def _issued(number: int, *, durable: bool = True) -> Issued:
    token = Token(key_id="0" * 8, digest="aa" * 16, sid="a" * 26, secret="A" * 43)
    return Issued(session=_session(number), token=token, durable=durable)


def _done(number: int, verb: Verb, value: Any, *, session: int = 0, process: int = 0, **more: Any) -> Done:
    """Return a call that began in second `number` and ended a tenth later."""
    call = Call(
        number=number,
        at_ms=0,
        process=process,
        verb=verb,
        user=0,
        session=session,
        cancel_ms=more.pop("cancel_ms", None),
    )
    times = {"began_s": float(number), "ended_s": number + 0.1, "outcome": "ok", **more}
    return Done(process=process, call=call, value=value, **times)


CREATED = _done(1, "create", _issued(1))
REVOKED = _done(2, "revoke", RevokeResult(found=True, durable=True), session=1)
JUST_AFTER = _done(1, "create", _issued(1), began_s=0.15, ended_s=0.2, place="b:1")
UNSURE = _done(2, "revoke", RevokeResult(found=True, durable=False), session=1)
ALL_REVOKED = _done(2, "revoke_all", RevokeAllResult(removed=1, durable=True))

ROWS: list[tuple[str, Rule | None, list[Done], dict[tuple[int, int], Session | None]]] = [
    ("a durable session that is unknown", "durable-session-lost", [CREATED], {(0, 1): None}),
    ("one that is found", None, [CREATED], {(0, 1): _session(1)}),
    ("one that was not durable", None, [_done(1, "create", _issued(1, durable=False))], {(0, 1): None}),
    ("one that was revoked", None, [CREATED, REVOKED], {(0, 1): None}),
    (
        "one whose revocation was cancelled",
        None,
        [CREATED, _done(2, "revoke", None, session=1, outcome="cancelled")],
        {(0, 1): None},
    ),
    (
        "one that began after a revoke-all",
        "durable-session-lost",
        [_done(0, "revoke_all", RevokeAllResult(removed=1, durable=True)), CREATED],
        {(0, 1): None},
    ),
    (
        "one that began after a revoke-all without an answer",
        None,
        [_done(0, "revoke_all", None, outcome="unavailable"), CREATED],
        {(0, 1): None},
    ),
    (
        "one that began just after a revoke-all that another primary lost",
        None,
        [_done(0, "revoke_all", RevokeAllResult(removed=0, durable=False), place="a:1"), JUST_AFTER],
        {(0, 1): None},
    ),
    (
        "one that began just after a revoke-all of its own primary",
        "durable-session-lost",
        [_done(0, "revoke_all", RevokeAllResult(removed=0, durable=False), place="b:1"), JUST_AFTER],
        {(0, 1): None},
    ),
    ("a durably revoked session at the end", "durably-revoked-accepted", [CREATED, REVOKED], {(9, 1): _session(1)}),
    (
        "a session that a living process has revoked",
        "not-replayed",
        [CREATED, UNSURE],
        {(0, 1): None, (9, 1): _session(1)},
    ),
    ("one that a process has revoked which has ended", None, [CREATED, UNSURE], {(8, 1): None, (9, 1): _session(1)}),
    ("the same after a durable revoke-all", "durably-revoked-accepted", [CREATED, ALL_REVOKED], {(9, 1): _session(1)}),
    (
        "a revoked session, verified later",
        "durably-revoked-accepted",
        [CREATED, REVOKED, _done(3, "verify", _session(1), session=1, process=1)],
        {},
    ),
    ("a verify that began before", None, [CREATED, REVOKED, _done(2, "verify", _session(1), session=1, process=1)], {}),
    ("an unconfirmed revocation, elsewhere", None, [CREATED, UNSURE], {(1, 1): _session(1)}),
    ("an unconfirmed revocation, in its process", "own-revocation-accepted", [CREATED, UNSURE], {(0, 1): _session(1)}),
    ("a reply of another call", "wrong-reply", [CREATED, _done(3, "verify", _session(2), session=1)], {}),
    ("a reply of another user", "wrong-reply", [CREATED, _done(3, "verify", _session(1, user=2), session=1)], {}),
    ("a call after its deadline", "deadline", [_done(1, "create", None, ended_s=2.5, outcome="unavailable")], {}),
    ("a cancelled call that goes on", "deadline", [_done(1, "create", None, cancel_ms=10, outcome="cancelled")], {}),
    ("an error that is no outage", "defect", [_done(1, "create", "KeyError", outcome="defect")], {}),
]


@pytest.mark.parametrize(("rule", "calls", "verified"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_history_breaks_the_rule_that_it_is_made_for(
    rule: Rule | None, calls: list[Done], verified: dict[tuple[int, int], Session | None]
) -> None:
    """Each history breaks its one rule, or none."""
    history = History()
    history.done.extend(calls)

    found = violations(history, End(verified=verified, failures=(), left_over=(), lost=()))

    assert {one.rule for one in found} == ({rule} if rule else set())


def test_what_is_left_over_and_what_does_not_recover_are_violations() -> None:
    """Tasks, connections, lost exceptions, processes without a store and generations that go back are reported."""
    history = History()
    history.generations.extend([(0, 2, "a:1"), (1, 1, "b:1"), (0, 1, "b:1")])

    found = violations(history, End(verified={}, failures=("f",), left_over=("t",), lost=("e",)))

    assert [one.rule for one in found] == ["generation", "defect", "left-over", "no-recovery"]


@pytest.mark.parametrize(("at_s", "rule"), [(4.9, None), (5.5, None), (6.5, "not-a-primary"), (0.5, "not-a-primary")])
def test_only_a_primary_is_adopted(at_s: float, rule: Rule | None) -> None:
    """A server is adopted while it is a primary, or at most a second later: its report takes a moment."""
    history = History()
    history.adopted.append((0, "10.0.0.1:6379", at_s))
    roles = {"10.0.0.1:6379": [(0.0, False), (1.0, True), (5.0, False)]}
    end = End(verified={}, failures=(), left_over=(), lost=(), roles=roles)

    assert [one.rule for one in violations(history, end)] == ([] if rule is None else [rule])


@pytest.mark.parametrize(("forgotten_s", "excused"), [(-1.0, False), (1.05, False), (1.2, True)])
def test_what_was_confirmed_before_a_server_stopped_to_follow_is_counted_apart(
    forgotten_s: float, excused: bool
) -> None:
    """A session that was created before that moment is excused, one that was created after it is not."""
    history = History()
    history.done.append(CREATED)
    end = End(verified={(0, 1): None}, failures=(), left_over=(), lost=(), forgotten_s=forgotten_s)

    assert [one.excused for one in violations(history, end)] == [excused]


@pytest.mark.parametrize(
    ("cut_off", "place", "acks_s", "excused"),
    [
        (True, "a:1", (8.7,), True),
        (True, "a:1", (7.0,), False),
        (True, "b:1", (8.7,), False),
        (False, "a:1", (8.7,), False),
    ],
)
def test_a_process_that_is_cut_off_with_a_former_primary_may_accept_what_another_revoked(
    cut_off: bool, place: str, acks_s: tuple[float, ...], excused: bool
) -> None:
    """It is counted apart if it was accepted from another server than that of the revocation, within the bound."""
    accepted = _done(9, "verify", _session(1), session=1, process=1)
    history = History()
    history.done.extend(
        [
            _done(1, "list", (), process=1),
            CREATED,
            msgspec.structs.replace(REVOKED, place="b:1"),
            msgspec.structs.replace(accepted, cut_off=cut_off, place=place),
        ]
    )
    acks = {"": (1.0,), "a:1": acks_s, "b:1": (2.0, 8.9)}
    end = End(verified={}, failures=(), left_over=(), lost=(), acks_s=acks, max_unreplicated_ms=400)

    assert [one.excused for one in violations(history, end) if one.rule == "durably-revoked-accepted"] == [excused]


def test_the_bound_begins_with_the_first_connection_of_a_process() -> None:
    """A process that did not reach a primary before has nothing to watch; its first call is trusted."""
    history = History()
    written = msgspec.structs.replace(_done(9, "revoke", REVOKED.value), place="a:1")
    history.done.extend([_done(1, "list", None, outcome="unavailable"), written])
    end = End(verified={}, failures=(), left_over=(), lost=(), acks_s={"a:1": ()}, max_unreplicated_ms=400)

    assert violations(history, end) == []


@pytest.mark.parametrize(("acks_s", "rules"), [((), ["unreplicated"]), ((7.0,), ["unreplicated"]), ((8.7,), [])])
def test_a_write_needs_an_acknowledgement_within_the_bound(acks_s: tuple[float, ...], rules: list[Rule]) -> None:
    """With `max_unreplicated_ms`, a reply is not taken from a server that no replica acknowledged for longer."""
    history = History()
    history.done.extend([_done(1, "list", ()), msgspec.structs.replace(_done(9, "revoke", REVOKED.value), place="a:1")])
    end = End(verified={}, failures=(), left_over=(), lost=(), acks_s={"a:1": acks_s}, max_unreplicated_ms=400)

    assert [one.rule for one in violations(history, end)] == rules


def _rotation(token: Token, *, durable: bool = True) -> Rotation:
    return Rotation(session=_session(1), token=token, durable=durable)


FIRST = _issued(1).token
SECOND, THIRD = (msgspec.structs.replace(FIRST, secret=letter * 43) for letter in "BC")
ROTATED = _done(3, "rotate", _rotation(SECOND), session=1, token=FIRST)
UNSURELY_ROTATED = msgspec.structs.replace(ROTATED, value=_rotation(SECOND, durable=False))
RENEWED = _done(2, "renew", _rotation(THIRD), session=1, token=FIRST)
LOST = _done(3, "rotate", None, session=1, token=FIRST, outcome="unavailable")


@pytest.mark.parametrize(
    ("rule", "calls", "found"),
    [
        ("superseded-accepted", [ROTATED], {"superseded": {(0, 1): _session(1)}}),
        ("superseded-accepted", [ROTATED, _done(4, "verify", _session(1), session=1, token=FIRST)], {}),
        ("superseded-accepted", [RENEWED, ROTATED, _done(4, "verify", _session(1), session=1, token=THIRD)], {}),
        (None, [ROTATED, _done(4, "verify", _session(1), session=1, token=SECOND)], {}),
        (None, [ROTATED, _done(3, "verify", _session(1), session=1, token=FIRST)], {}),
        (None, [RENEWED, _done(4, "verify", _session(1), session=1, token=FIRST)], {}),
        (
            None,
            [UNSURELY_ROTATED],
            {"superseded": {(0, 1): _session(1)}},
        ),
        ("durable-session-lost", [ROTATED], {"verified": {(0, 1): None}}),
        ("durable-session-lost", [RENEWED], {"verified": {(0, 1): None}}),
        (
            None,
            [UNSURELY_ROTATED],
            {"verified": {(0, 1): None}},
        ),
        (None, [LOST], {"verified": {(0, 1): None}}),
    ],
)
def test_what_a_durable_rotation_replaced_opens_nothing(rule: Rule | None, calls: list[Done], found: Any) -> None:
    """Nor is its token lost; a renewal replaces nothing, and what is not durable may be lost."""
    assert _rules([CREATED, *calls], found) == ({rule} if rule else set())


DISABLED = _done(2, "disable", DisableResult(removed=0, durable=True), place="a:1")
MAYBE_DISABLED = _done(2, "disable", DisableResult(removed=0, durable=False), place="a:1")
ENABLED = _done(3, "enable", EnableResult(durable=True), place="a:1")
LOGIN = _done(4, "create", _issued(4))


@pytest.mark.parametrize(
    ("rule", "calls", "found"),
    [
        ("disabled-user-logged-in", [DISABLED, LOGIN], {}),
        ("disabled-user-logged-in", [DISABLED], {"logins": {0: True}}),
        (None, [MAYBE_DISABLED], {"logins": {0: True}}),
        (None, [DISABLED], {"logins": {0: False}}),
        (None, [DISABLED, ENABLED, LOGIN], {"logins": {0: True}}),
        (None, [DISABLED, _done(3, "enable", None, outcome="unavailable")], {"logins": {0: True}}),
        (None, [_done(1, "enable", EnableResult(durable=True), outcome="cancelled"), DISABLED], {"logins": {0: True}}),
        ("durable-status-lost", [DISABLED, ENABLED], {"logins": {0: False}}),
        (None, [ENABLED, _done(3, "disable", None, outcome="unavailable")], {"logins": {0: False}}),
        ("wrong-reply", [ENABLED], {"logins": {0: False}}),
        ("durably-revoked-accepted", [CREATED, DISABLED], {"verified": {(0, 1): _session(1)}}),
    ],
)
def test_a_durable_status_holds(rule: Rule | None, calls: list[Done], found: Any) -> None:
    """A user who was disabled does not log in before an enabling that may have come later; one who was enabled can."""
    assert rule in _rules(calls, found) if rule else not _rules(calls, found)


PATCHED = _done(3, "patch", DataResult(version=2), session=1, place="a:1", token=FIRST)


@pytest.mark.parametrize(
    ("rule", "values", "since_s"),
    [
        (None, {"call-3": 3}, 0.0),
        ("change-lost", {}, 0.0),
        (None, {}, 3.05),
        ("wrong-reply", {"call-3": 3, "call-9": 9}, 0.0),
    ],
)
def test_a_change_is_lost_with_its_server_only(rule: Rule | None, values: dict[str, int], since_s: float) -> None:
    """A primary that stayed has every change that it answered, and data has no other values."""
    found = {
        "verified": {(0, 1): _session(1)},
        "data": {1: SessionData(values=values, version=2)},
        "places": {0: "a:1"},
        "roles": {"a:1": [(0.0, True), (since_s, True)]},
    }

    assert _rules([CREATED, PATCHED], found) == ({rule} if rule else set())


def _rules(calls: list[Done], found: dict[str, Any]) -> set[Rule]:
    """Return the rules that a history breaks in which the process used the server a:1 from the beginning."""
    history = History()
    for done in calls:
        history.add(done)
    history.adopted.append((0, "a:1", 0.5))
    nothing = {"verified": {}, "failures": (), "left_over": (), "lost": (), "roles": {"a:1": [(0.0, True)]}}
    return {one.rule for one in violations(history, End(**nothing | found))}
