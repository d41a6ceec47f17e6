"""Whether the authentication of a session is enough for what its client asks for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tollhouse.sessions.levels import AUTHENTICATION_MS, satisfies
from tollhouse.sessions.logins import Impersonation
from tollhouse.sessions.records import Session

AT_MS = 1_800_000_000_000
METALS = ("bronze", "silver", "gold")


def session(acr):
    times = {"created_at": 0, "last_seen_at": 0, "expires_at": 0, "idle_expires_at": 0, "authenticated_at": AT_MS}
    return Session(sid="s", user="ada", policy="default", device=None, acr=acr, **times)


@pytest.mark.parametrize(
    ("reached", "asked", "enough"),
    [
        (None, None, True),
        (None, "aal1", False),
        (None, "urn:own", False),
        ("aal1", None, True),
        ("aal1", "aal1", True),
        ("aal1", "aal2", False),
        ("aal2", "aal1", True),
        ("aal3", "aal2", True),
        ("aal3", "aal3", True),
        ("urn:own", "urn:own", True),
        ("urn:own", "urn:other", False),
        ("urn:own", "aal1", False),
        ("aal3", "urn:own", False),
    ],
)
def test_a_level_is_enough_for_those_below_it(reached, asked, enough):
    """The order is of the known levels; another is enough for itself alone, and none for no level."""
    assert satisfies(session(reached), acr=asked, now_ms=AT_MS) is enough


@pytest.mark.parametrize(("asked", "enough"), [("bronze", True), ("silver", True), ("gold", False), ("aal1", False)])
def test_levels_are_those_of_the_operator(asked, enough):
    """Given levels replace the ones of NIST."""
    assert satisfies(session("silver"), acr=asked, now_ms=AT_MS, levels=METALS) is enough


@pytest.mark.parametrize(
    ("age_ms", "most_ms", "enough"),
    [(0, 0, True), (1, 0, False), (1_000, 1_000, True), (1_001, 1_000, False), (-5_000, 0, True), (10**12, None, True)],
)
def test_an_authentication_may_be_too_old(age_ms, most_ms, enough):
    """The bound itself is recent enough; a clock that is behind that of the store makes none older."""
    assert satisfies(session("aal3"), max_age_ms=most_ms, now_ms=AT_MS + age_ms) is enough


def test_both_are_asked_for():
    """A level is not enough if it was reached too long ago, and no time is if the level is too low."""
    late = AT_MS + 2
    assert not satisfies(session("aal2"), acr="aal2", max_age_ms=1, now_ms=late)
    assert not satisfies(session("aal1"), acr="aal2", max_age_ms=2, now_ms=late)
    assert satisfies(session("aal2"), acr="aal2", max_age_ms=2, now_ms=late)


@pytest.mark.parametrize(
    ("reached", "asked", "lasting"),
    [
        ("aal1", "aal1", True),
        ("aal2", "aal1", True),
        ("aal2", "aal2", False),
        ("aal3", "aal2", False),
        ("own", "own", True),
    ],
)
def test_a_level_above_the_weakest_lasts_for_a_day(reached, asked, lasting):
    """NIST SP 800-63B-4, 2.2.3: a browser that is remembered for longer counts as the weakest level from then on."""
    assert satisfies(session(reached), acr=asked, now_ms=AT_MS + AUTHENTICATION_MS)
    assert satisfies(session(reached), acr=asked, now_ms=AT_MS + AUTHENTICATION_MS + 1) is lasting


@pytest.mark.parametrize(
    ("acr", "most_ms", "enough"), [(None, None, True), ("aal1", None, False), (None, 10**12, False)]
)
@pytest.mark.parametrize(
    "other",
    [{"user": "anonymous:" + "a" * 26}, {"impersonation": Impersonation(actor="root", actor_sid="a", reason="why")}],
    ids=["visitor", "impersonation"],
)
def test_who_did_not_log_in_was_never_authenticated(other, acr, most_ms, enough):
    """That of a visitor, or of who acts as its user, reaches no level, and no time since its beginning counts."""
    unproven = replace(session("aal1"), **other)

    assert satisfies(unproven, acr=acr, max_age_ms=most_ms, now_ms=AT_MS) is enough
