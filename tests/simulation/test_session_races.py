"""Random races over sessions: what ended stays so, no change is lost, no tab is anonymous."""

from __future__ import annotations

import pytest

from tests.simulation.session_races import RACES_PER_HISTORY, race_sessions
from tests.simulation.session_server import TEXTS

pytestmark = pytest.mark.no_cover

HISTORIES = 40
SEARCHED = 100
"""Histories in which a mutant has to be noticed, if that in which it was noticed first does not do so any more."""

MUTANTS = {
    "an end leaves the record": (0, "redis.call('DEL', record) == 0", "redis.call('EXISTS', record) == 0"),
    "ending all sessions of all users leaves their epoch": (
        8,
        "redis.call('HSET', all_users, 'ep', raised_ms, ",
        "redis.call('HSET', all_users, ",
    ),
    "a disabled user may log in": (2, "if own[2] == '1' then return {2} end", ""),
    "a rotation leaves the former secret": (
        0,
        "redis.call('HDEL', record, 'hp', 'hpx')",
        "redis.call('HSET', record, 'hp', session.verifier, 'hpx', now_ms + 30000)",
    ),
    "a rotation leaves the secret before": (25, "redis.call('HDEL', record, 'hp', 'hpx')", ""),
    "a second run of a rotation is refused": (9, "again and successor or verifier", "verifier"),
    "a former secret opens nothing": (0, "(end_ms < 0 or now_ms <= end_ms) and 6 or 5", "5"),
    "a former secret is good without end": (0, "(end_ms < 0 or now_ms <= end_ms) and 6 or 5", "6"),
    "the grace begins with the renewal": (0, "'hpx', -grace_ms", "'hpx', now_ms + grace_ms"),
    "a successor is due at once": (0, "'ra', 0, ", ""),
    "a use does not begin the grace": (0, "if first then redis.call('HSET'", "if false then redis.call('HSET'"),
    "a loser keeps its token": (0, "(due or found == 6) and 1 or 0", "due and 1 or 0"),
    "every secret is the former one": (
        0,
        "if verifier ~= former[1] then return nil, {2} end",
        "if not former[2] then return nil, {2} end",
    ),
    "a value that was taken stays": (2, "redis.call('HDEL', record, name)\nreturn", "return"),
    "a change leaves the version": (0, "return tonumber(counts[1]) + 1, bytes", "return tonumber(counts[1]), bytes"),
    "a sum begins anew": (1, "local sum = tonumber(old) + by", "local sum = by"),
}


def test_no_race_breaks_a_promise():
    """P4: in 400 races no call opens a session that ended before it began, and what was answered stays true."""
    tally = race_sessions(range(HISTORIES))

    assert tally.wrong == []
    assert tally.races == HISTORIES * RACES_PER_HISTORY
    assert min(tally.uses, tally.refused, tally.renewed) > 500
    assert tally.unanswered > 10


@pytest.mark.parametrize("name", MUTANTS)
def test_the_races_notice_each_missing_rule(name: str):
    """A script without one of its rules breaks a promise in some race."""
    noticed_by, rule, without = MUTANTS[name]
    texts = {script: text.replace(rule, without) for script, text in TEXTS.items()}

    assert texts != TEXTS
    assert any(race_sessions([seed], texts).wrong for seed in (noticed_by, *range(SEARCHED)))
