"""The embedded Sentinel cluster: six processes that agree, that a drill can break, and that leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.composed import await_true
from tests.processes import alive, children_of, gone_within
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.embedded.sentinel_cluster import Node, SentinelCluster
from tollhouse.stores.embedded.sentinel_config import replicas_in_sync
from tollhouse.stores.embedded.supervisor import ServerExit
from tollhouse.stores.transport.errors import ServerError
from tollhouse.stores.urls import SentinelService, parse

OWNER = """
import sys
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
cluster = SentinelCluster.start()
print(cluster.pid, flush=True)
sys.stdin.readline()
cluster.stop()
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[SentinelCluster]:
    """A cluster for tests that leave it whole."""
    cluster = SentinelCluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def own() -> Iterator[SentinelCluster]:
    """A cluster for one test alone."""
    cluster = SentinelCluster.start()
    yield cluster
    cluster.stop()


@contextmanager
def owner() -> Iterator[subprocess.Popen[str]]:
    """Another process that owns a cluster until its standard input ends."""
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def replicas_follow(cluster: SentinelCluster, primary: Node) -> bool:
    return replicas_in_sync([cluster.call(primary, "INFO", "replication")])


@pytest.mark.sentinel
def test_it_is_ready_when_it_has_started(shared: SentinelCluster) -> None:
    """When start returns, the first server is primary, two replicate it, and each Sentinel can replace it (C-7)."""
    primary, *replicas = shared.nodes

    assert shared.primary() == primary
    assert replicas_follow(shared, primary)
    assert [shared.call(replica, "ROLE")[:4] for replica in replicas] == [
        ["slave", primary.address.host, primary.address.port, "connected"]
    ] * 2
    for sentinel in shared.sentinels:
        assert shared.call(sentinel, "SENTINEL", "CKQUORUM", "main").startswith("OK 3 usable")


@pytest.mark.sentinel
def test_every_node_has_an_address_of_its_own(shared: SentinelCluster) -> None:
    """Six nodes listen on six addresses, and connect from them too: a server sees which node a connection is from."""
    nodes = shared.nodes + shared.sentinels
    clients = shared.call(shared.nodes[0], "CLIENT", "LIST")

    seen = set(re.findall(r"(?<!l)addr=([\d.]+):", clients))

    assert len({node.address.host for node in nodes}) == len({node.pid for node in nodes}) == 6
    assert {node.address.host for node in nodes[1:]} <= seen


@pytest.mark.sentinel
def test_the_url_names_the_sentinels(shared: SentinelCluster) -> None:
    """The URL names the three Sentinels and carries both passwords, which differ and are not shown."""
    url = parse("TOLLHOUSE_URL", shared.url)

    assert isinstance(url.target, SentinelService)
    assert url.target.hosts == tuple((node.address.host, node.address.port) for node in shared.sentinels)
    assert (url.target.service, url.db, url.username) == ("main", 0, None)
    assert call(shared.nodes[0].address, (str(url.password),), "PING") == "PONG"
    assert call(shared.sentinels[0].address, (str(url.target.password),), "PING") == "PONG"
    assert url.password != url.target.password
    assert str(url.password) not in repr(url)


@pytest.mark.sentinel
def test_every_node_asks_for_a_password(shared: SentinelCluster) -> None:
    """Another user of the machine who finds an address is refused without a password, by servers and Sentinels."""
    for node in shared.nodes + shared.sentinels:
        with socket.create_connection((node.address.host, node.address.port), timeout=1) as stranger:
            stranger.sendall(b"PING\r\n")

            assert stranger.recv(64).startswith(b"-NOAUTH")
        with pytest.raises(ServerError, match="WRONGPASS"):
            call(node.address, ("wrong",), "PING")


@pytest.mark.sentinel
def test_a_killed_owner_leaves_no_cluster() -> None:
    """After kill -9 of its owner neither the supervisor process nor any of its six processes remains."""
    with owner() as process:
        family = children_of(process.pid)
        assert len(family) == 7

        process.kill()

        assert gone_within(family)


@pytest.mark.sentinel
def test_a_killed_supervisor_process_takes_all_six_along() -> None:
    """After kill -9 of the supervisor process its six processes die too: Linux signals them that their parent died."""
    with owner() as process:
        (supervisor_pid,) = (pid for pid in children_of(process.pid) if children_of(pid))
        family = children_of(process.pid)

        os.kill(supervisor_pid, signal.SIGKILL)

        assert gone_within(family - {supervisor_pid})


@pytest.mark.sentinel
def test_stopping_twice_is_stopping(own: SentinelCluster) -> None:
    """After stop nothing remains, not even a process that was suspended; a second stop does nothing."""
    family = children_of(os.getpid())
    processes = {own.pid, *(node.pid for node in own.nodes + own.sentinels)}
    assert processes <= family
    os.kill(own.nodes[1].pid, signal.SIGSTOP)
    began_s = time.monotonic()

    own.stop()

    assert not any(map(alive, processes))
    assert time.monotonic() - began_s < 2
    own.stop()
    with pytest.raises(ServerExit, match="supervisor ended"):
        own.restart(own.nodes[0])


@pytest.mark.sentinel
def test_a_dead_node_stays_dead_until_restarted(own: SentinelCluster) -> None:
    """A replica that was killed is not started again until `restart`, which gives it a new process id."""
    replica = own.nodes[1]

    os.kill(replica.pid, signal.SIGKILL)

    assert gone_within({replica.pid})
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        own.call(replica, "PING")
    restarted = own.restart(replica)
    assert restarted.pid != replica.pid
    assert own.nodes[1] == restarted
    await_true(lambda: replicas_follow(own, own.nodes[0]))


@pytest.mark.sentinel
def test_a_live_node_can_be_restarted(own: SentinelCluster) -> None:
    """Restart first kills a process that still runs, a Sentinel like a server; the Sentinel keeps its state."""
    sentinel = own.sentinels[2]

    restarted = own.restart(sentinel)

    assert not alive(sentinel.pid)
    assert alive(restarted.pid)
    assert own.sentinels[2] == restarted
    await_true(lambda: own.call(restarted, "SENTINEL", "CKQUORUM", "main").startswith("OK 3 usable"))


@pytest.mark.sentinel
def test_a_stopped_node_does_not_answer_and_goes_on_later(own: SentinelCluster) -> None:
    """A node under SIGSTOP does not answer within a second, and does after SIGCONT."""
    replica = own.nodes[2]

    os.kill(replica.pid, signal.SIGSTOP)

    with pytest.raises(TimeoutError):
        own.call(replica, "PING")
    os.kill(replica.pid, signal.SIGCONT)
    assert own.call(replica, "PING") == "PONG"


@pytest.mark.sentinel
def test_the_sentinels_replace_a_killed_primary(own: SentinelCluster) -> None:
    """After kill -9 of the primary the Sentinels name one of the replicas (C-10); the dead one is not started again."""
    killed = own.nodes[0]

    os.kill(killed.pid, signal.SIGKILL)
    await_true(lambda: own.primary() not in (None, killed))

    promoted = own.primary()
    assert promoted in own.nodes[1:]
    assert own.call(promoted, "ROLE")[0] == "master"
    assert not alive(killed.pid)
    assert own.restart(killed).address == killed.address


@pytest.mark.sentinel
def test_a_primary_that_no_replica_follows_refuses_writes_if_it_has_to() -> None:
    """With `min_replicas` a primary takes writes while that many replicas follow it, and refuses them when none does.

    The others do too, when they are primaries: the setting is that of every server.
    """
    cluster = SentinelCluster.start(min_replicas=1)
    try:
        primary, *replicas = cluster.nodes
        assert cluster.call(primary, "SET", "key", "value") == "OK"
        for replica in replicas:
            assert cluster.call(replica, "CONFIG", "GET", "min-replicas-to-write")[1] == "1"
            os.kill(replica.pid, signal.SIGKILL)
        await_true(lambda: "connected_slaves:0" in cluster.call(primary, "INFO", "replication"))

        with pytest.raises(ServerError) as refused:
            cluster.call(primary, "SET", "key", "value")

        assert refused.value.code == "NOREPLICAS"
    finally:
        cluster.stop()


@pytest.mark.sentinel
def test_without_a_majority_there_is_no_primary(own: SentinelCluster) -> None:
    """When two of three Sentinels are dead, no server is the primary for certain."""
    for sentinel in own.sentinels[:2]:
        os.kill(sentinel.pid, signal.SIGKILL)

    await_true(lambda: own.primary() is None)
