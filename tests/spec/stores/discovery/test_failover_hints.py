"""What a failed call suggests about the primary."""

from __future__ import annotations

import pytest

from tollhouse.stores.discovery.failover_hints import FailoverHint, failover_hint
from tollhouse.stores.transport.errors import ConnectionFull, ConnectionLost, DeadlinePassed, ServerError

B = ("10.0.0.2", 6379)

#    the error, the hint
HINTS: list[tuple[Exception, FailoverHint | None]] = [
    (ConnectionLost("the connection ended"), FailoverHint(why="eof")),
    (DeadlinePassed("no reply in time"), FailoverHint(why="stall")),
    (ConnectionRefusedError(111, "refused"), FailoverHint(why="connect")),
    (TimeoutError(), FailoverHint(why="connect")),
    (ServerError("READONLY You can't write against a read only replica."), FailoverHint(why="readonly")),
    (ServerError("UNBLOCKED force unblock from blocking operation"), FailoverHint(why="readonly")),
    (ServerError("NOREPLICAS Not enough good replicas to write. script: abc"), FailoverHint(why="noreplicas")),
    (ServerError("MASTERDOWN Link with MASTER is down"), FailoverHint(why="masterdown")),
    (ServerError("LOADING Valkey is loading the dataset in memory"), FailoverHint(why="loading")),
    (ServerError("REDIRECT 10.0.0.2:6379"), FailoverHint(why="redirect", candidate=B)),
    (ServerError("REDIRECT 10.0.0.2:6379 script: abc, on @user_script:1."), FailoverHint(why="redirect", candidate=B)),
    (ServerError("REDIRECT fe80::1:6379"), FailoverHint(why="redirect", candidate=("fe80::1", 6379))),
    (ServerError("REDIRECT"), FailoverHint(why="redirect")),
    (ServerError("OOM command not allowed"), None),
    (ConnectionFull("4096 calls are in flight"), None),
]


@pytest.mark.parametrize(("error", "hint"), HINTS)
def test_failures_that_suggest_a_new_primary(error: Exception, hint: FailoverHint | None) -> None:
    """A lost connection, and each error of a server that is no primary, is a hint; other failures are none."""
    assert failover_hint(error) == hint
