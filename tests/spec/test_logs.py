"""Logs: one event per line, for machines or for people, and no secret in either."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from tollhouse import logs
from tollhouse.keyring import Keyring
from tollhouse.sessions import tokens

TOKEN = tokens.issue(Keyring(secrets=(b"a secret for tests, 32 bytes or more",)), "7f" * 16).reveal()
TICKET = "t1.0123abcd." + "7f" * 16 + "." + "Qx_-" * 10 + "QxA"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    names = ("tollhouse", "tollhouse.cache", "uvicorn")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def logged(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_where_nobody_watches() -> None:
    """Away from a terminal each event is one JSON object with a UTC time, the message and the fields."""
    stream = io.StringIO()
    logs.configure("info", "auto", stream)

    logging.getLogger("tollhouse.stores").info("store connected", extra={"store": "limits", "took_ms": 3})

    (event,) = logged(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(event.pop("timestamp")))
    assert event == {
        "level": "info",
        "logger": "tollhouse.stores",
        "message": "store connected",
        "store": "limits",
        "took_ms": 3,
    }


def test_a_line_is_text_on_a_terminal() -> None:
    """On a terminal the same event is a readable line, and a traceback follows it."""
    stream = Terminal()
    logs.configure("info", "auto", stream)

    logging.getLogger("tollhouse.stores").warning("store lost", extra={"store": "limits", "note": "a\nb"})
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("tollhouse.stores").exception("store broke")

    first, second, *rest = stream.getvalue().splitlines()
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3} WARNING tollhouse\.stores store lost store="limits" note="a\\nb"', first
    )
    assert second.endswith("store broke")
    assert rest[-1] == "ValueError: no"


def test_configuring_twice_logs_once() -> None:
    """If logging is configured several times, an event is one line, on the last stream."""
    old, new = io.StringIO(), io.StringIO()
    logs.configure("info", "json", old)
    logs.configure("info", "json", new)

    logging.getLogger("tollhouse").info("began")

    assert old.getvalue() == ""
    assert len(logged(new)) == 1


def test_the_level_holds_except_for_loggers_that_log_everything() -> None:
    """Events below the level are not logged, except those of a logger that logs everything (S1-28)."""
    stream = io.StringIO()
    logs.log_everything("tollhouse.cache")
    logs.configure("warning", "json", stream)

    logging.getLogger("tollhouse.stores").info("silent")
    logging.getLogger("tollhouse.cache").debug("told")
    logging.getLogger("uvicorn.access").error('"GET /?token=x HTTP/1.1" 200')

    assert [event["message"] for event in logged(stream)] == ["told"]


def test_the_default_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream, lines go to stderr and leave stdout to the data."""
    logs.configure()

    logging.getLogger("tollhouse").info("began")

    captured = capsys.readouterr()
    assert (captured.out, "began" in captured.err) == ("", True)


SECRETS = [
    (f"session {TOKEN} ended", "session v1.*** ended"),
    (f"login {TICKET} waits", "login t1.*** waits"),
    ("Authorization: Bearer abc.def", "Authorization: ***"),
    ("got Bearer abc.def==, Basic dTpw", "got Bearer ***, Basic ***"),
    ("(b'cookie', b'a=1; b=2'), (b'host', b'h')", "(b'cookie', b'***'), (b'host', b'h')"),
    ("X-Api-Key=abc", "X-Api-Key=***"),
    ("GET /x?a=1&password=hunter2&b=2", "GET /x?a=1&password=***&b=2"),
    ("GET /x?ticket=abc", "GET /x?ticket=***"),
    ("redis://u:p@ss@h:1/0 lost", "redis://u:***@h:1/0 lost"),
    ("redis://:pa/ss@h", "redis://:***@h"),
    ("redis+sentinel://h?sentinel_password=x", "redis+sentinel://h?sentinel_password=***"),
    ("https://example.org/a:b", "https://example.org/a:b"),
]


@pytest.mark.parametrize(("text", "redacted"), SECRETS)
def test_secrets_are_cut_out_of_text(text: str, redacted: str) -> None:
    """Tokens, credentials of headers and passwords of URLs are replaced, the rest stays."""
    assert logs.redact(text) == redacted


@pytest.mark.parametrize("layout", ["json", "text"])
def test_no_part_of_a_line_holds_a_secret(layout: logs.LogFormat) -> None:
    """Message, arguments, fields at any depth and tracebacks are all redacted; numbers are not."""
    stream = io.StringIO()
    logs.configure("info", layout, stream)
    fields = {
        "token": TOKEN,
        "tokens": 15,
        "headers": {"Authorization": f"Bearer {TOKEN}", "Accept": None},
        "pairs": [("cookie", f"a={TOKEN}"), (b"cookie", TOKEN.encode()), ("redis://:hunter2@h",)],
        "error": ValueError("redis://:hunter2@h"),
    }

    try:
        raise ValueError(f"token {TOKEN}")
    except ValueError:
        logging.getLogger("tollhouse").exception("bad %s", "redis://:hunter2@h", extra=fields)

    text = stream.getvalue()
    assert "c2VjcmV0" not in text
    assert "hunter2" not in text
    assert "15" in text


#   fields, the text of the message
FACTS = [
    ({}, "store lost"),
    ({"store": "limits", "tries": 3}, 'store lost store="limits" tries=3'),
    ({"reason": "50% of\n%s"}, 'store lost reason="50% of\\n%s"'),
    ({"url": "redis://:hunter2@h", "token": TOKEN}, 'store lost url="redis://:***@h" token="***"'),
    ({"names": ["a", "b"]}, 'store lost names=["a","b"]'),
]


@pytest.mark.parametrize(("fields", "text"), FACTS)
def test_the_facts_of_an_event_are_in_its_text(
    fields: dict[str, object], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A formatter that prints the message alone prints the facts, without secrets; they are fields as well."""
    logs.Log("tollhouse.stores").warning("store lost", extra=fields)

    (record,) = caplog.records
    assert record.getMessage() == text
    assert "hunter2" not in repr(vars(record))
    assert vars(record)["event"] == "store lost"
    assert fields.keys() <= vars(record).keys()
    assert record.filename == "test_logs.py"


def test_the_levels_of_events(caplog: pytest.LogCaptureFixture) -> None:
    """Each method logs at the level of its name; what the level of the logger excludes is not logged."""
    caplog.set_level(logging.INFO, "tollhouse.stores")
    log, error = logs.Log("tollhouse.stores"), ValueError("x")

    log.debug("one")
    log.info("two")
    log.warning("three at 100%")
    log.error("four", exc_info=error)
    log.log(logging.CRITICAL, "five")

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (20, "two"),
        (30, "three at 100%"),
        (40, "four"),
        (50, "five"),
    ]
    assert [record.exc_info for record in caplog.records if record.exc_info] == [(ValueError, error, None)]


def test_our_own_lines_have_each_fact_as_they_need_it() -> None:
    """For machines an event has its name, its text and its fields; on a terminal each fact is printed once."""
    lines: list[str] = []
    for stream in (io.StringIO(), Terminal()):
        logs.configure("info", "auto", stream)
        logs.Log("tollhouse.stores").info("store lost", extra={"store": "limits"})
        lines += stream.getvalue().splitlines()

    machine, person = json.loads(lines[0]), lines[1]
    assert (machine["event"], machine["message"], machine["store"]) == (
        "store lost",
        'store lost store="limits"',
        "limits",
    )
    assert person.endswith('INFO    tollhouse.stores store lost store="limits"')


def test_a_check_logs_nothing_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """What is muted is silent in all our loggers, and afterwards the level is as before."""
    log, before = logs.Log("tollhouse.stores"), logging.getLogger("tollhouse").level
    with logs.muted():
        log.error("store lost")
        logging.getLogger("app").error("theirs")
    log.error("store lost")

    assert [record.name for record in caplog.records] == ["app", "tollhouse.stores"]
    assert logging.getLogger("tollhouse").level == before


def test_text_that_cannot_be_encoded_is_still_logged() -> None:
    """A lone surrogate, as in a file name that is not UTF-8, does not lose the line."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)

    logging.getLogger("tollhouse").info("opened %s", "a\udc80", extra={"big": 2**70})

    (event,) = logged(stream)
    assert event["message"] == "opened a\\udc80"
    assert event["big"] == 2**70
