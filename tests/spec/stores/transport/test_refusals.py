"""Refusals: which last until the setup is changed, what mends them, and when they are logged."""

from __future__ import annotations

import logging
import ssl

import pytest

from tollhouse.errors import ConfigurationError
from tollhouse.metrics import Metrics
from tollhouse.stores.transport.errors import ConnectionLost, ServerError
from tollhouse.stores.transport.refusals import (
    RIGHTS_REMEDY,
    RefusalLog,
    ServerRefusal,
    StoreRefusals,
    refusal_to_connect,
)

DOWN = ServerRefusal(server="redis://a:1", reason="cannot connect: refused", remedy="start it")
SLOW = ServerRefusal(server="redis://a:1", reason="no answer within 1 s", remedy="if it is far, say so")
WRONG = ServerRefusal(server="redis://a:1", reason="WRONGPASS", remedy="set the password", permanent=True)
NO_RIGHT = ServerRefusal(server="redis://a:1", reason="NOPERM set", remedy="allow it", permanent=True)
NO_OTHER_RIGHT = ServerRefusal(server="redis://a:1", reason="NOPERM del", remedy="allow it", permanent=True)
ELSEWHERE = ServerRefusal(server="redis://b:1", reason="WRONGPASS", remedy="set the password", permanent=True)

#   what a connection met, for a URL of one server and of several: whether it is permanent; words of reason and remedy
MET = [
    (ServerError("WRONGPASS invalid"), True, True, "refused the login: WRONGPASS", "user and password"),
    (ServerError("NOAUTH HELLO must be"), True, True, "refused the login: NOAUTH", "user and password"),
    (ServerError("NOPERM this user"), True, True, "refused the login: NOPERM", "user and password"),
    (ServerError("DENIED protected mode"), True, True, "DENIED", "protected-mode no"),
    (ServerError("READONLY the server is a slave"), True, False, "the server is a replica", "URL of its primary"),
    (ServerError("LOADING the dataset"), False, False, "LOADING", "wait until it has loaded"),
    (ServerError("ERR max number of clients reached"), False, False, "max number", "raise maxclients"),
    (ServerError("CLUSTERDOWN no"), False, False, "CLUSTERDOWN", "without Cluster mode"),
    (ServerError("WHAT is this"), False, False, "refused the handshake: WHAT", "log of the server"),
    (ConfigurationError("server", "Redis 6.2", "take a newer one"), True, True, "Redis 6.2", "take a newer one"),
    (TimeoutError(), False, False, "no answer within 2 s", "round_trip_ms"),
    (ConnectionRefusedError(), False, False, "cannot connect: ConnectionRefusedError", "that the server runs"),
    (ConnectionLost("it ended"), False, False, "cannot connect: it ended", "if it speaks TLS"),
    (ssl.SSLError("wrong version number"), False, False, "cannot connect: ", "without TLS"),
    (ssl.SSLCertVerificationError("self-signed"), False, False, "cannot connect: ", "?ca=FILE"),
]


@pytest.mark.parametrize(("error", "of_one", "of_several", "reason", "remedy"), MET)
def test_what_a_connection_meets(error: Exception, *, of_one: bool, of_several: bool, reason: str, remedy: str) -> None:
    """Only a change of the setup mends a login, a right, a version; and a replica if there is no other server."""
    found = [refusal_to_connect("redis://a:1", error, single=single, connect_s=2) for single in (True, False)]

    assert [one.permanent for one in found] == [of_one, of_several]
    assert reason in found[0].reason
    assert remedy in found[0].remedy
    assert found[0].text == f"redis://a:1: {found[0].reason}; {found[0].remedy}"


#   what a call met, whether it is permanent
CALLS = [
    ("NOPERM No permissions to access a key", True),
    ("ERR unknown command 'EVAL', with args", True),
    ("ERR The user executing the script can't access at least one of the keys", True),
    ("ERR ACL failure in script: User x has no permissions to run the 'set' command", True),
    ("OOM command not allowed", False),
    ("BUSY a script runs", False),
]


@pytest.mark.parametrize(("words", "permanent"), CALLS)
def test_what_a_call_meets(words: str, *, permanent: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A right that is missing is reported when a call misses it, with all rights that are needed."""
    proofs: list[int] = []
    refusals = StoreRefusals(RefusalLog(Metrics()), "limits", "redis://a:1", lambda: proofs.append(1))
    refusals.disprove("limits/take")

    refusal = refusals.of_call(ServerError(words), "limits/take")

    assert (refusal.permanent, refusal.remedy == RIGHTS_REMEDY) == (permanent, permanent)
    assert refusals.disproved is not permanent
    assert [record.levelname for record in caplog.records] == ["ERROR"] * permanent
    refusals.disprove("limits/take")
    assert proofs == [1, 1]


DENIED = ServerError("NOPERM User x has no permissions to run the 'set' command")


def test_a_script_that_runs_disproves_no_denial_of_another(caplog: pytest.LogCaptureFixture) -> None:
    """An account that may only read verifies sessions and creates none: one line, not two for each pair of calls."""
    now_s = [0.0]
    refusals = StoreRefusals(RefusalLog(Metrics()), "sessions", "redis://a:1", lambda: None, lambda: now_s[0])
    with caplog.at_level(logging.INFO, "tollhouse.stores"):
        for _ in range(3):
            refusals.of_call(DENIED, "sessions/create")
            refusals.disprove("sessions/load")
            assert (refusals.is_refused, refusals.disproved) == (True, False)
        now_s[0] = 60.0
        refusals.disprove("sessions/load")

    assert (refusals.is_refused, refusals.disproved) == (False, True)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_command_that_is_denied_does_not_keep_a_store_from_use(caplog: pytest.LogCaptureFixture) -> None:
    """A store can do without plain commands, such as SCAN; what that costs is logged elsewhere."""
    refusals = StoreRefusals(RefusalLog(Metrics()), "cache", "redis://a:1", lambda: None)
    refusals.disprove("cache/get")

    refusal = refusals.of_call(DENIED, None)

    assert refusal.permanent
    assert (refusals.is_refused, refusals.disproved) == (False, True)
    assert caplog.records == []


def reported(caplog: pytest.LogCaptureFixture, *steps: tuple[str, ServerRefusal | None]) -> list[tuple[str, str]]:
    """Report refusals of stores, or the end of them; return the level of each line and the store that it names."""
    log = RefusalLog(Metrics())
    with caplog.at_level(logging.INFO, "tollhouse.stores"):
        for store, refusal in steps:
            if refusal is None:
                log.end(store)
            else:
                log.report(store, refusal)
    return [(record.levelname, vars(record)["store"]) for record in caplog.records]


def test_a_cause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is met, and by whichever stores of one server; another cause is another line."""
    assert reported(
        caplog,
        ("limits", DOWN),
        ("limits", SLOW),
        ("cache", DOWN),
        ("limits", WRONG),
        ("cache", WRONG),
        ("limits", WRONG),
        ("limits", NO_RIGHT),
        ("limits", NO_OTHER_RIGHT),
        ("accounts", ELSEWHERE),
    ) == [("ERROR", "limits"), ("ERROR", "limits"), ("ERROR", "limits"), ("ERROR", "accounts")]


def test_a_cause_is_logged_again_after_the_store_was_well(caplog: pytest.LogCaptureFixture) -> None:
    """An outage of a store that was well is a warning: it may be a failover. A mistake is an error at any time."""
    assert reported(
        caplog,
        ("limits", WRONG),
        ("limits", None),
        ("limits", None),
        ("limits", WRONG),
        ("limits", None),
        ("limits", DOWN),
        ("limits", None),
    ) == [
        ("ERROR", "limits"),
        ("INFO", "limits"),
        ("ERROR", "limits"),
        ("INFO", "limits"),
        ("WARNING", "limits"),
        ("INFO", "limits"),
    ]


def test_the_line_has_every_fact(caplog: pytest.LogCaptureFixture) -> None:
    """Store, server, reason and remedy are in its text and in its fields."""
    reported(caplog, ("limits", WRONG))

    (record,) = caplog.records
    facts = {"store": "limits", "server": "redis://a:1", "reason": "WRONGPASS", "remedy": "set the password"}
    assert facts.items() <= vars(record).items()
    assert all(f'{name}="{fact}"' in record.getMessage() for name, fact in facts.items())


def test_a_metric_says_what_waiting_does_not_mend() -> None:
    """The gauge is 1 while the setup is wrong, and 0 in an outage and when the store is well."""
    metrics = Metrics()
    log = RefusalLog(metrics)
    seen: list[float | None] = []
    for refusal in (WRONG, DOWN, NO_RIGHT, None):
        if refusal is None:
            log.end("limits")
        else:
            log.report("limits", refusal)
        seen.append(metrics.registry.get_sample_value("tollhouse_store_refused", {"store": "limits"}))

    assert seen == [1, 0, 1, 0]
