"""The drill against real servers: what its clients do, what it finds, and that nothing of it remains."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from msgspec import structs
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import MaxConnectionsError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as AnswerMissed

from tests.failures.test_serve import COMMAND, environment
from tests.processes import children_of, gone_within
from tests.worlds import StoreWorld
from tollhouse import wiring
from tollhouse.drill.clients.client import HOT_LIMIT, VIAS, ClientName, Via, client_settings
from tollhouse.drill.clients.http import HttpClient, UnexpectedStatus
from tollhouse.drill.clients.http_connection import HttpConnections, HttpReply, InvalidReply
from tollhouse.drill.clients.library import LibraryClient
from tollhouse.drill.clients.service_process import ServiceProcess, run_service
from tollhouse.drill.faults import FAULTS, Extent
from tollhouse.drill.report import slo
from tollhouse.drill.report.report import DrillOptions, Report
from tollhouse.drill.results.history import HistoryEvent
from tollhouse.drill.round import open_client
from tollhouse.drill.runner import Drill, DrillProgress
from tollhouse.errors import ConfigurationError, Overloaded, StoreUnavailable
from tollhouse.stores.embedded.sentinel_cluster import SentinelCluster
from tollhouse.stores.redis_py import RedisPyClient

BOUNDS = slo.built_in(2_000, "library")
SECRET = b"not-much-of-a-secret-but-long-enough-for-tests"


@pytest.mark.parametrize("via", VIAS)
async def test_operations_do_what_the_history_says(embedded: StoreWorld, via: Via) -> None:
    """Each operation is a real one: what it leaves is found on the server, and what it ends is not accepted."""
    async with (
        open_client("tollhouse", via, client_settings(embedded.url, SECRET)) as client,
        wiring.open(client_settings(embedded.url, SECRET)) as server,
    ):
        assert (await client.call("take", "take-7")).accepted
        assert not (await client.call("take", "take-8")).foreign
        assert (await client.call("take", "take-7")).foreign  # not what a fresh key would have left
        admitted = [(await client.call("hot", f"hot-{number}")).accepted for number in range(HOT_LIMIT.limit + 1)]
        assert admitted == [True] * HOT_LIMIT.limit + [False]

        assert (await client.call("create", "create-1")).durable is False
        assert (await client.call("create", "create-2")).accepted
        assert (await client.call("verify", "create-1")).accepted
        assert (await client.call("revoke", "create-1")).accepted
        assert not (await client.call("verify", "create-1")).accepted
        # A logout is answered alike if its session is over (RFC 7009, 2.2); the library says that there was none.
        assert (await client.call("revoke", "create-1")).accepted is (via == "http")

        for operation in ("put", "get"):
            answer = await client.call(operation, "put-1")
            assert (answer.degraded, answer.foreign) == (False, False)
        wanted = ["take-7", "take-9", "hot-0", "hot-101", "create-1", "create-2", "create-3"]
        assert await client.surviving(server, wanted) == {"take-7", "hot-0", "create-2"}
        assert client.state().generation is None


def test_failures_are_classed_by_what_they_may_have_done() -> None:
    """A client says of each exception whether the call may have run; what no outage explains is a defect."""
    library = LibraryClient(wiring.open("fake://"))

    assert library.failure(StoreUnavailable("limits", "rejected", "x")) == "rejected"
    assert (
        library.failure(StoreUnavailable("limits", "ambiguous", "ran, and its repetition found no server"))
        == "ambiguous"
    )
    assert library.failure(Overloaded("a queue", 10)) == "not-sent"
    assert library.failure(KeyError("x")) == "defect"


async def test_a_service_that_does_not_start_says_why() -> None:
    """If `serve` refuses its settings, the drill ends with its message."""
    with pytest.raises(ConfigurationError) as refused:
        async with run_service(client_settings("redis+cluster://h", SECRET)):
            pass

    assert refused.value.setting == "drill"
    assert "redis+cluster" in str(refused.value)


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    """A connection that ends within an answer, or answers no HTTP, is an error of that request alone."""
    replies = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"what?\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(replies.pop(0))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    http = HttpConnections(address)
    client = HttpClient(ServiceProcess(address=address, key=""), LibraryClient(wiring.open("fake://")))

    for _ in range(2):
        with pytest.raises(InvalidReply) as broken:
            await http.request("GET", "/")
        assert client.failure(broken.value) == "ambiguous"
    unavailable = await http.request("GET", "/")
    assert client.failure(UnexpectedStatus(unavailable)) == "ambiguous"
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match="Connect") as refused:
        await http.request("GET", "/")
    assert client.failure(refused.value) == "not-sent"
    await http.aclose()


@pytest.mark.parametrize("outcome", ["not-sent", "rejected", "ambiguous"])
def test_a_503_says_what_became_of_the_request(outcome: str) -> None:
    """The service names the outcome, and the drill counts it as such; another unexpected status is a defect."""
    client = HttpClient(ServiceProcess(address="http://127.0.0.1:1", key=""), LibraryClient(wiring.open("fake://")))
    replies = [HttpReply(status=status, headers={}, json={"outcome": outcome}) for status in (503, 500)]

    assert [client.failure(UnexpectedStatus(reply)) for reply in replies] == [outcome, "defect"]


@pytest.fixture
def cluster() -> Iterator[SentinelCluster]:
    started = SentinelCluster.start()
    yield started
    started.stop()


@pytest.mark.sentinel
async def test_the_peer_is_used_as_its_documentation_shows(cluster: SentinelCluster) -> None:
    """redis-py writes, reads and removes keys on the primary, and what fails is classed as far as it tells."""
    peer = RedisPyClient(cluster.url)

    await peer.set("key", "value")
    assert await peer.get("key") == "value"
    assert await peer.delete("key")
    assert await peer.get("key") is None
    assert (peer.connections, peer.in_use) == (1, 0)

    for node in cluster.nodes:
        os.kill(node.pid, signal.SIGKILL)
    with pytest.raises(ConnectionFailed) as lost:
        await peer.get("key")
    with pytest.raises(ConnectionFailed) as refused:
        await peer.get("key")
    assert (peer.outcome(lost.value), peer.outcome(refused.value)) == ("ambiguous", "not-sent")
    await peer.aclose()


#   what redis-py raises, what it may have done
RAISED = [
    (MasterNotFoundError("no master"), "not-sent"),
    (MaxConnectionsError("too many"), "not-sent"),
    (ConnectionFailed("Error 111 connecting to h:1. Refused."), "not-sent"),
    (ConnectionFailed("Connection closed by server."), "ambiguous"),
    (ConnectionFailed("The previous master is now a slave"), "rejected"),
    (ReadOnlyError("READONLY"), "rejected"),
    (ResponseError("NOREPLICAS"), "rejected"),
    (AnswerMissed("Timeout reading"), "ambiguous"),
    (TimeoutError(), "ambiguous"),
    (AttributeError("x"), None),
]


@pytest.mark.parametrize(("error", "expected"), RAISED)
async def test_failures_of_the_peer_are_classed(error: Exception, expected: str | None) -> None:
    """What redis-py raises tells whether a call was sent or refused; what no outage explains has no class."""
    peer = RedisPyClient("redis+sentinel://127.0.0.1:1/main/0")

    assert peer.outcome(error) == expected
    await peer.aclose()


def options(fault: str, *clients: ClientName, rate: int = 200) -> DrillOptions:
    return DrillOptions(
        command="a test",
        faults=(fault,),
        clients=clients,
        rounds=1,
        rate=rate,
        down_after_ms=2_000,
        min_replicas=0,
        max_unreplicated_ms=None,
        via="library",
        seed=1,
        deadline_ms=1_000,
    )


@pytest.mark.sentinel
async def test_a_forced_failover_breaks_no_durable_promise(tmp_path: Path) -> None:
    """P4, P9: a forced failover loses no write and no revocation that was answered durable, and the report is whole."""
    steps: list[DrillProgress] = []
    before = children_of(os.getpid())

    report = await Drill(options("forced", "tollhouse"), tmp_path, BOUNDS, steps.append, extent=Extent(after_s=3)).run()

    [one] = report.rounds
    [summary] = report.summaries
    assert one.problem is None
    assert summary.worst == summary.median == one.figures
    assert one.figures["calls"] == 1_000
    assert one.figures["revoked_durably"]
    assert (one.figures["durable_lost"], one.figures["resurrected"], one.figures["foreign"]) == (0, 0, 0)
    assert {mark.kind for mark in one.marks} >= {"fault", "promoted", "switch", "generation", "demoted"}
    assert {verdict.measure for verdict in report.verdicts} == {
        *("resurrected", "over_admission_unexplained", "ghosts"),
        *("plain_lost_ms", "durable_lost", "errors", "takes_degraded"),
    }
    assert one.figures["hot_admitted"]
    assert one.figures["over_admission_unexplained"] == 0
    assert steps[-1].progress.calls > 900
    events = [
        msgspec.json.decode(line, type=HistoryEvent) for line in (tmp_path / one.history).read_bytes().splitlines()
    ]
    assert sum(event.type == "invoke" for event in events) == 1_000
    assert ElementTree.parse(tmp_path / one.timeline).getroot().tag.endswith("svg")
    assert report.machine.server.startswith("valkey 9")
    assert gone_within(children_of(os.getpid()) - before)


@pytest.mark.sentinel
async def test_what_only_an_isolated_primary_took_is_counted_as_lost(tmp_path: Path) -> None:
    """Cut off with its clients, a primary takes writes that are lost when the majority's primary counts, none durable.

    The same holds for what a primary had not sent to its replicas when it was killed.
    """
    extent = Extent(before_s=1, after_s=3, partition_s=2.5, lag_s=0.6)
    both = structs.replace(options("partition", "tollhouse"), faults=("partition", "lag"), down_after_ms=1_000)

    report = await Drill(both, tmp_path, BOUNDS, lambda _: None, extent=extent).run()

    for one in report.rounds:
        assert one.problem is None
        assert {mark.kind for mark in one.marks} >= {"fault", "promoted", "switch"}
        assert one.figures["takes_lost"]
        assert one.figures["revoked_durably"]
        assert (one.figures["durable_lost"], one.figures["resurrected"], one.figures["ghosts"]) == (0, 0, 0)


@pytest.mark.sentinel
async def test_what_a_server_took_right_after_its_promotion_dies_with_it(tmp_path: Path) -> None:
    """A second failure before Sentinel has noticed the promotion kills the promoted server, and what only it had."""
    extent = Extent(before_s=0.5, after_s=2.5)

    report = await Drill(options("twice", "tollhouse"), tmp_path, BOUNDS, lambda _: None, extent=extent).run()

    [one] = report.rounds
    [promoted] = {mark.who for mark in one.marks if mark.kind == "promoted"}
    assert [mark.what for mark in one.marks if mark.kind == "fault" and mark.who == promoted] == ["kill -9"]
    assert one.figures["plain_lost"]
    assert (one.figures["durable_lost"], one.figures["resurrected"], one.figures["ghosts"]) == (0, 0, 0)


@pytest.mark.sentinel
async def test_a_round_that_cannot_be_judged_says_so(tmp_path: Path) -> None:
    """If the servers do not agree again, the round has a problem and no figures, and keeps no bound."""
    extent = Extent(before_s=0.2, after_s=0.2, settle_s=0)
    drill = Drill(options("kill9", "redis-py", "tollhouse"), tmp_path, BOUNDS, lambda _: None, extent=extent)

    report = await drill.run()

    assert [one.problem for one in report.rounds] == [
        "the servers did not agree on a primary within 0 s after the round"
    ] * 2
    assert not any(verdict.kept for verdict in report.verdicts)


@pytest.mark.sentinel
async def test_a_cluster_that_a_fault_left_whole_is_used_again(tmp_path: Path) -> None:
    """Faults without a failover share servers, which are emptied in between; Tollhouse shows no error in any."""
    extent = Extent(before_s=0.3, after_s=0.8, kill_every_s=0.3, cancellations=500)
    both = structs.replace(options("script-flush", "tollhouse"), faults=("script-flush", "cancel-storm", "client-kill"))

    report = await Drill(both, tmp_path, BOUNDS, lambda _: None, extent=extent).run()

    flushed, stormed, killed = (one.figures for one in report.rounds)
    assert (flushed["errors"], flushed["reconnects"]) == (0, 0)
    assert (stormed["cancelled"], stormed["foreign"], stormed["leaked_slots"], stormed["reconnects"]) == (500, 0, 0, 0)
    assert (killed["plain_lost"], killed["durable_lost"]) == (0, 0)


def drill(folder: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "drill", *args], check=False, env=environment(folder), cwd=folder, capture_output=True, timeout=60
    )


def test_every_fault_is_explained(tmp_path: Path) -> None:
    """`drill list` says of each fault what it does, what it must show, and the bounds."""
    page = drill(tmp_path, "list").stdout.decode()
    faults = msgspec.json.decode(drill(tmp_path, "list", "--json", "--down-after-ms", "3000").stdout)["faults"]

    assert [fault["fault"] for fault in faults] == list(FAULTS)
    assert faults[0]["at_most"] == {
        "resurrected": 0,
        "over_admission_unexplained": 0,
        "ghosts": 0,
        "gap_ms": 3800,
        "durable_lost": 0,
        "over_deadline": 0,
    }
    assert all(f"{name}\n" in page for name in FAULTS)
    assert "(gap_ms)" in page


#   arguments, words of the error
WRONG = [
    (["--fault", "kill8"], "'kill8' is not one of kill9, sigstop"),
    (["--client", "tollhouse,jedis"], "'jedis' is not one of tollhouse, redis-py"),
    (["--rounds", "0"], "0 is not in the range"),
    (["--slo", "missing.toml"], "--slo: 'missing.toml': write `[FAULT]`"),
]


@pytest.mark.parametrize(("args", "words"), WRONG)
def test_what_cannot_be_done_as_asked_is_exit_code_2(tmp_path: Path, args: list[str], words: str) -> None:
    """A fault, client or bound that does not exist ends `drill run` with exit code 2 before anything starts."""
    done = drill(tmp_path, "run", *args)

    assert done.returncode == 2
    assert words in " ".join(done.stderr.decode().replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.sentinel
def test_a_broken_bound_is_exit_code_1(tmp_path: Path) -> None:
    """`drill run --json` prints the report, writes it as JSON and Markdown, and ends with 1 if a bound is broken."""
    (tmp_path / "slo.toml").write_text("[script-flush]\nerrors = 0\ncalls = 10\n")

    done = drill(
        tmp_path,
        "run",
        "--fault",
        "script-flush",
        "--client",
        "tollhouse",
        "--rate",
        "20",
        "--slo",
        "slo.toml",
        "--json",
    )

    report = msgspec.json.decode(done.stdout, type=Report)
    assert (done.returncode, done.stderr) == (1, b"")
    assert {verdict.measure: verdict.kept for verdict in report.verdicts} == {"errors": True, "calls": False}
    written = tmp_path / "out" / "drill"
    assert msgspec.json.decode((written / "report.json").read_bytes(), type=Report) == report
    assert "# Failover drill" in (written / "report.md").read_text()
    table = drill(tmp_path, "table", str(written / "report.json")).stdout.decode()
    assert "| `script-flush` | errors that a user sees | 0 | 0 |" in table
    (tmp_path / "other.json").write_text("{}")
    assert drill(tmp_path, "table", "other.json").returncode == 2
    assert "--fault script-flush" in report.options.command
