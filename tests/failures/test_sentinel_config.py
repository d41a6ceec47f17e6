"""What an embedded cluster needs: free addresses, nodes that start, and the rule that says when it is ready."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tests.processes import children_of
from tollhouse.errors import ConfigurationError
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster, free_addresses
from tollhouse.stores.embedded.sentinel_config import replicas_in_sync, sentinel_is_ready
from tollhouse.stores.urls import TcpAddress

SENTINEL = {"flags": "sentinel"}
REPLICA = {"flags": "slave", "master-link-status": "ok"}


def test_a_taken_address_is_reported() -> None:
    """A node that cannot listen fails the start; the error has its name and last line of log, and nothing remains."""
    before = children_of(os.getpid())
    addresses = free_addresses()
    with socket.socket() as other:
        other.bind(addresses[0])
        other.listen()

        with pytest.raises(ConfigurationError, match=r"embedded server-1 ended with code 1: .*"):
            SentinelCluster.start(addresses=addresses)

    assert children_of(os.getpid()) <= before


def test_nodes_that_never_answer_are_given_up(tmp_path: Path) -> None:
    """A program that runs and does not answer is ended after a bounded time; the error says what was waited for."""
    before = children_of(os.getpid())
    binary = tmp_path / "server"
    binary.write_text("#!/bin/sh\nexec sleep 60\n")
    binary.chmod(0o755)

    with pytest.raises(ConfigurationError, match="the primary to answer"):
        SentinelCluster.start(binary=binary, ready_s=0.2)

    assert children_of(os.getpid()) <= before


def test_taken_blocks_are_skipped() -> None:
    """A block of addresses of which one is taken is not used; if none is free the error names the remedy."""
    block = free_addresses()
    _, first, second, _ = block[0][0].split(".")

    def randbelow(bound: int) -> int:
        return int(first) - 1 if bound == 254 else int(second)

    assert free_addresses(randbelow) == block

    with socket.socket() as other:
        other.bind(block[4])

        with pytest.raises(ConfigurationError, match="elsewhere give `addresses`"):
            free_addresses(randbelow)


def test_a_closed_connection_is_an_oserror() -> None:
    """A connection that is closed without a reply is an OSError, like one that cannot be made."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(1024)
            connection.close()

        server = threading.Thread(target=hang_up)
        server.start()

        with pytest.raises(OSError, match="closed the connection"):
            call(TcpAddress(host="127.0.0.1", port=listener.getsockname()[1]), ("x",), "PING")
        server.join()


@pytest.mark.parametrize(
    ("primary", "replicas", "ready"),
    [
        ("slave0:state=online slave1:state=online", ["master_link_status:up"] * 2, True),
        ("slave0:state=online slave1:state=wait_bgsave", ["master_link_status:up"] * 2, False),
        ("slave0:state=online slave1:state=online", ["master_link_status:up", "master_link_status:down"], False),
    ],
)
def test_replicas_are_in_sync_in_both_views(primary: str, replicas: list[str], ready: bool) -> None:
    """Replicas are in sync when the primary and both of them report so."""
    assert replicas_in_sync([primary, *replicas]) is ready


@pytest.mark.parametrize(
    ("sentinels", "replicas", "ready"),
    [
        ([SENTINEL, SENTINEL], [REPLICA, REPLICA], True),
        ([SENTINEL], [REPLICA, REPLICA], False),
        ([SENTINEL, {"flags": "sentinel,disconnected"}], [REPLICA, REPLICA], False),
        ([SENTINEL, SENTINEL], [REPLICA], False),
        ([SENTINEL, SENTINEL], [REPLICA, {**REPLICA, "flags": "s_down,slave"}], False),
        ([SENTINEL, SENTINEL], [REPLICA, {**REPLICA, "master-link-status": "err"}], False),
    ],
)
def test_a_sentinel_is_ready_when_it_reaches_all_nodes(
    sentinels: list[dict[str, str]], replicas: list[dict[str, str]], ready: bool
) -> None:
    """A Sentinel is ready when it reaches two others and two replicas that replicate the primary."""
    assert sentinel_is_ready(sentinels, replicas) is ready
