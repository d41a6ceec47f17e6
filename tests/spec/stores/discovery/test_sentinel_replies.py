"""Why a Sentinel has no answer, and what the operator is to do."""

from __future__ import annotations

import pytest

from tollhouse.stores.discovery.quorum import PrimaryName
from tollhouse.stores.discovery.sentinel_replies import SentinelReply, explain_silence, read_replies
from tollhouse.stores.transport.errors import DeadlinePassed, ServerError

SENTINEL = ("s1", 26379)

#    the error, what the reason names, whether asking again cannot help
FAILURES: list[tuple[Exception, str, bool]] = [
    (ServerError("ERR No such master with that name"), "SENTINEL MASTERS", True),
    (ServerError("IDONTKNOW"), "'main'", True),
    (ServerError("WRONGPASS invalid username-password pair"), "sentinel_user and sentinel_password", True),
    (ServerError("NOAUTH Authentication required."), "sentinel_user and sentinel_password", True),
    (ServerError("NOPERM no permissions"), "sentinel_user and sentinel_password", True),
    (ServerError("ERR unknown command 'SENTINEL', with args"), "name the Sentinels in the URL", True),
    (ServerError("DENIED running in protected mode"), "DENIED", False),
    (DeadlinePassed("no reply in time"), "250 ms", False),
    (ConnectionRefusedError(111, "refused"), "refused", False),
    (ConnectionError(), "ConnectionError", False),
]


@pytest.mark.parametrize(("error", "words", "permanent"), FAILURES)
def test_the_reason_names_the_sentinel_and_the_remedy(error: Exception, words: str, *, permanent: bool) -> None:
    """The reason has the Sentinel's address, and the remedy if asking again cannot help."""
    unavailable = explain_silence(SENTINEL, "main", error, 0.25)

    assert "s1:26379" in unavailable.reason
    assert words in unavailable.reason
    assert unavailable.permanent is permanent


def read(primary: dict[str, str], replicas: list[dict[str, str]]) -> SentinelReply:
    """Return what is read at 100 s from the replies of a Sentinel, which are bytes."""
    replies = [[b"10.0.0.1", b"6379"], wire(primary), [wire(one) for one in replicas], []]
    reply = read_replies(SENTINEL, "id", "main", replies, 100.0)
    assert isinstance(reply, SentinelReply)
    return reply


def wire(fields: dict[str, str]) -> dict[bytes, bytes]:
    """Return a map as a connection reads it."""
    return {name.encode(): value.encode() for name, value in fields.items()}


def primary_name(**fields: str) -> PrimaryName | None:
    """Return the name that a Sentinel's reply at 100 s gives the primary."""
    primary = {"config-epoch": "4", "quorum": "2", "num-other-sentinels": "2"} | fields
    return read(primary, []).vote.name


def test_the_name_of_a_primary_is_that_of_its_run_and_epoch() -> None:
    """Two Sentinels give one primary one name; a restart and a failover give it another."""
    name = primary_name(runid="a" * 40)
    assert name is not None
    assert len(name.text) == 16
    others = [primary_name(runid="b" * 40), primary_name(**{"runid": "a" * 40, "config-epoch": "5"})]
    assert primary_name(runid="a" * 40, quorum="1") == name
    assert all(other is not None and other.text != name.text for other in others)


def test_a_primary_that_a_sentinel_has_not_asked_has_no_name() -> None:
    """After a failover the run id is unknown until the new primary has replied."""
    assert primary_name(runid="") is None
    assert primary_name() is None


def test_a_name_is_as_old_as_the_reply_of_the_server() -> None:
    """The Sentinel says how long ago the server replied; a clock that stepped back makes no name newer."""
    ages = [primary_name(**{"runid": "a", "info-refresh": age}) for age in ("0", "7500", "-9000")]
    assert [name and name.seen_s for name in ages] == [100.0, 92.5, 100.0]


#    what the entry of a replica says, its state, whether it is deposed
ENTRIES: list[tuple[dict[str, str], str, bool]] = [
    ({}, "up", False),
    ({"flags": "s_down,slave,disconnected"}, "down", False),
    ({"flags": "slave,o_down"}, "down", False),
    ({"flags": "slave,disconnected"}, "unsettled", False),
    ({"runid": ""}, "unsettled", False),
    ({"role-reported": "master", "slave-repl-offset": "0"}, "up", True),
    ({"role-reported": "master", "slave-repl-offset": "7"}, "up", False),
    ({"slave-repl-offset": "0"}, "up", False),
]


@pytest.mark.parametrize(("entry", "state", "deposed"), ENTRIES)
def test_a_replica_has_the_state_in_which_sentinel_sees_it(entry: dict[str, str], state: str, *, deposed: bool) -> None:
    """It is down, not examined yet, or up; one that still is a primary and has no known offset is deposed."""
    whole = {"ip": "10.0.0.2", "port": "6379", "flags": "slave", "runid": "x", "slave-priority": "10", **entry}

    (read,) = replies_with([whole]).replicas

    assert (read.aliases, read.priority, read.state, read.deposed) == ({("10.0.0.2", 6379)}, 10, state, deposed)


def test_a_replica_without_a_usable_address_is_listed() -> None:
    """Sentinel could promote it, so it is listed, and has no address under which it could acknowledge."""
    (read,) = replies_with([{"ip": "", "port": "x", "flags": "slave"}]).replicas

    assert (read.aliases, read.priority, read.state) == (frozenset(), 100, "up")


def replies_with(replicas: list[dict[str, str]]) -> SentinelReply:
    """Return what is read from the replies of a Sentinel that lists these replicas."""
    primary = {"config-epoch": "1", "quorum": "2", "num-other-sentinels": "0"}
    return read(primary, replicas)
