"""Ids and kinds of session events."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from tests.lua.contract import LUA
from tollhouse.sessions.events.event import KINDS, EventId, parse_id, read_event
from tollhouse.sessions.events.notes import AccountChange
from tollhouse.sessions.revocations import Cause

WRITTEN = re.compile(r"write_event\(\w+, \w+, (.+?), [\w.']+, [^,]+\)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-2",
        "1-2-",
        "1-2-3",
        "1-2-AB",
        "1-2-abc",
        "-1-2-ab",
        "1-2-ab ",
        "1-2-ab\n",
        "\u0661-2-ab",
        "1" * 16 + "-0-ab",
    ],
)
def test_what_is_no_id_is_none(text):
    """An id is three parts of ASCII digits, within bounds; nothing else is read as one."""
    assert parse_id(text) is None


def test_an_id_is_written_as_it_is_read():
    """An id has one spelling, and its order is that of time, then sequence, then tag."""
    texts = ["9-0-ff", "10-0-00", "10-0-0a", "10-2-00", "10-10-00"]

    places = [parse_id(text) for text in texts]

    assert [str(place) for place in places] == texts
    assert sorted(places) == places


def test_an_event_has_no_sid_if_it_is_about_a_user():
    """The empty text of the script becomes None."""
    place, event = read_event("0a", [b"7-1", b"5", b"disabled", b"ada", b"", b"", b""])

    assert place == EventId(ms=7, sequence=1, tag="0a")
    assert (event.id, event.at, event.sid, event.actor, event.reason) == ("7-1-0a", 5, None, None, None)


def test_every_kind_that_is_written_is_in_the_table():
    """A script that writes an event of a new kind needs a row in KINDS; and each row is written by one."""
    scripts = [path.read_text(encoding="utf-8") for path in LUA.glob("*/*.lua") if path.name != "write_event.lua"]
    calls = [call for script in scripts for call in WRITTEN.findall(script)]
    written = {kind for call in calls for kind in re.findall(r"'([a-z-]+)'", call)}

    assert sum(script.count("write_event(") for script in scripts) == len(calls)
    assert {call for call in calls if "'" not in call} == {"kind"}
    assert written | set(get_args(Cause)) | set(get_args(AccountChange)) == set(KINDS)
