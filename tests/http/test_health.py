"""Readiness in detail, and the metrics of stores behind Sentinels."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.failures.fake_sentinel import FakeSentinel, FakeServer, replica
from tests.http.client import ADMIN, SERVICE, Service, service_at
from tollhouse.cli.check import check, warnings
from tollhouse.metrics import Metrics
from tollhouse.stores.discovery.locator import ServiceHealth
from tollhouse.stores.discovery.primary_history import Generation
from tollhouse.stores.discovery.sentinel_resolver import SentinelResolver
from tollhouse.stores.status import SILENT_MAX, TEXT_MAX, FailoverStatus, StoreStatus, failover_status
from tollhouse.stores.transport.dialer import Dialer, Login
from tollhouse.stores.urls import SentinelService, TcpAddress

HEALTHY = ServiceHealth(
    service="main",
    sentinels_known=3,
    sentinels_reachable=3,
    quorum=2,
    promotable=2,
    generation=Generation(number=4, address=TcpAddress(host="::1", port=6379), why="promoted", at_s=100.0, epoch=7),
    reason="",
    silent=(),
)
WATCH = failover_status(HEALTHY, 101.5)
WORKER = """
import sys
from tollhouse.metrics import Metrics
metrics = Metrics()
generation, known, reachable, promotable, connections = map(int, sys.argv[1:])
metrics.store_watch("limits", generation=generation, sentinels_known=known, sentinels_reachable=reachable,
                    replicas_promotable=promotable)
metrics.store_connections("limits", connections)
print("ready", flush=True)
sys.stdin.readline()
"""


@asynccontextmanager
async def service_without_a_primary() -> AsyncIterator[Service]:
    """Three scripted Sentinels that report a server which does not exist; the URL has a password in every part."""
    server = await FakeServer(login=("ada", "sesame")).open()
    server.follows = ("127.0.0.1", 1)
    sentinels = [await FakeSentinel(number, login=("watcher", "open-it")).open() for number in (1, 2, 3)]
    for sentinel in sentinels:
        sentinel.watch(server.host)
        sentinel.peers = [peer for peer in sentinels if peer is not sentinel]
        sentinel.replicas = [replica(("127.0.0.1", 1))]
    hosts = ",".join(f"{host}:{port}" for host, port in (sentinel.host for sentinel in sentinels))
    url = f"redis+sentinel://ada:sesame@{hosts}/main/0?sentinel_user=watcher&sentinel_password=open-it"
    try:
        async with service_at(url) as service:
            yield service
    finally:
        for fake in (server, *sentinels):
            await fake.listener.close()


@pytest.mark.parametrize("query", ["verbose", "verbose=", "verbose=true"])
@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
async def test_verbose_health_tells_of_each_store(service: Service, path: str, query: str) -> None:
    """`?verbose` returns the status, and for each store its place, server, role and replication id."""
    response = await service.ask("GET", f"{path}?{query}", headers=ADMIN)

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    report = response.json()
    assert report["status"] == "ok"
    assert [store["store"] for store in report["stores"]] == ["sessions", "limits", "cache", "accounts"]
    for db, store in enumerate(report["stores"]):
        assert store["place"].startswith("unix:///")
        assert store["place"].endswith(f"?db={db}")
        assert (store["connection"], store["role"], store["problem"]) == ("connected", "master", None)
        assert store["server"].startswith("valkey 9")
        assert len(store["replication_id"]) == 40
        assert store["round_trip_ms"] > 0
        assert store["watch"] is None


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"X-Api-Key": "a-guess-at-a-key"}, 401), (SERVICE, 403)])
async def test_verbose_health_is_for_administrators(service: Service, headers: dict[str, str], status: int) -> None:
    """Versions and addresses are shown to an admin key alone: a client on the same machine may be anyone's proxy."""
    for path in ("/readyz?verbose", "/healthz?verbose=true"):
        response = await service.ask("GET", path, headers=headers)

        assert response.status_code == status
        assert "valkey" not in response.text
        assert "unix:" not in response.text


async def test_a_probe_is_never_taken_for_a_guess(service: Service) -> None:
    """A readiness probe may carry any credentials, different ones each time; without a query they are not read."""
    probes = [
        await service.ask("GET", "/readyz", headers={"Authorization": f"Bearer mesh-token-{number}"})
        for number in range(30)
    ]

    assert {probe.status_code for probe in probes} == {200}


async def test_another_word_for_verbose_is_refused(service: Service) -> None:
    """`?verbose=no` is 400 and names the parameter."""
    response = await service.ask("GET", "/readyz?verbose=no")

    assert (response.status_code, response.json()["field"]) == (400, "verbose")


async def test_verbose_health_of_a_lost_cache(valkey_socket: Path) -> None:
    """A store that does not answer is listed with its problem; the status is the same as without `?verbose`."""
    async with service_at(f"unix://{valkey_socket}", cache_url="redis://ada:sesame@127.0.0.1:1") as service:
        response = await service.ask("GET", "/readyz?verbose", headers=ADMIN)

    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    cache = response.json()["stores"][2]
    assert (cache["connection"], cache["server"], cache["role"]) == ("disconnected", None, None)
    assert "redis://127.0.0.1:1: cannot connect" in cache["problem"]
    assert "sesame" not in response.text


async def test_verbose_health_without_any_store() -> None:
    """If no store answers, the report is 503 and contains no password of a server or a Sentinel."""
    async with service_without_a_primary() as service:
        response = await service.ask("GET", "/readyz?verbose", headers=ADMIN)
        text = (await service.ask("GET", "/metrics")).text

    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    watch = response.json()["stores"][0]["watch"]
    assert (watch["service"], watch["generation"], watch["primary"], watch["changed_ms_ago"]) == ("main", 0, None, None)
    assert (watch["sentinels_known"], watch["sentinels_reachable"], watch["quorum"]) == (3, 3, 2)
    assert "no primary of 'main' is known" in watch["reason"]
    assert "sesame" not in response.text
    assert "open-it" not in response.text
    for line in (
        'tollhouse_store_generation{store="limits"} 0.0',
        'tollhouse_sentinels_known{store="limits"} 3.0',
        'tollhouse_sentinels_reachable{store="limits"} 3.0',
        'tollhouse_replicas_promotable{store="limits"} 1.0',
    ):
        assert line in text.splitlines()


async def test_metrics_name_their_format_once(service: Service) -> None:
    """The content type of /metrics names the version of the format and one charset."""
    response = await service.ask("GET", "/metrics")

    kind, *parameters = response.headers["content-type"].split("; ")
    assert kind == "text/plain"
    assert sorted(name for name, _, _ in (one.partition("=") for one in parameters)) == ["charset", "version"]


async def test_several_servers_are_reported_without_sentinels() -> None:
    """For listed servers the counts of Sentinels are 0; those that do not answer are named."""
    server = await FakeServer().open()
    async with service_at(f"redis://{server.host[0]}:{server.host[1]},127.0.0.1:1") as service:
        for _ in range(20):  # a busy machine may need more than one deadline to connect
            watch = (await service.ask("GET", "/readyz?verbose", headers=ADMIN)).json()["stores"][1]["watch"]
            if watch["primary"] is not None:
                break
    await server.listener.close()

    assert watch["service"] == f"127.0.0.1:{server.host[1]}, 127.0.0.1:1"
    assert (watch["primary"], watch["generation"], watch["why"]) == (f"127.0.0.1:{server.host[1]}", 1, "first")
    assert (watch["sentinels_known"], watch["sentinels_reachable"], watch["quorum"]) == (0, 0, 0)
    assert watch["replicas_promotable"] == 0
    assert [reason.partition(": ")[0] for reason in watch["silent"]] == ["127.0.0.1:1"]


async def test_connections_are_counted_and_unwatched_stores_have_no_sentinels(own_service: Service) -> None:
    """/metrics counts the connections to each store; the metrics of Sentinels are absent if there are none."""
    await own_service.ask("GET", "/readyz")

    text = (await own_service.ask("GET", "/metrics")).text
    again = (await own_service.ask("GET", "/metrics")).text

    for one in (text, again):
        assert 'tollhouse_store_connections_total{store="limits"} 1.0' in one.splitlines()
    assert "tollhouse_sentinels_known{" not in text
    assert "tollhouse_store_generation{" not in text


def test_facts_are_dated_and_named() -> None:
    """The age of a generation is in milliseconds of the resolver's clock, its address in one spelling."""
    watch = failover_status(HEALTHY, 101.5)

    assert watch == FailoverStatus(
        service="main",
        generation=4,
        primary="[::1]:6379",
        why="promoted",
        changed_ms_ago=1500,
        replicas_promotable=2,
        sentinels_known=3,
        sentinels_reachable=3,
        quorum=2,
        reason=None,
        silent=(),
    )


async def test_facts_are_bounded() -> None:
    """The report has a bounded size, however long the texts of Sentinels are and however many are silent."""
    resolver = SentinelResolver(SentinelService(hosts=(("h", 1),), service="s" * 10_000), Login(), Dialer())
    known = resolver.health()
    long = ServiceHealth(
        service=known.service,
        sentinels_known=99,
        sentinels_reachable=0,
        quorum=2,
        promotable=0,
        generation=None,
        reason="r" * 10_000,
        silent=("x" * 10_000,) * 99,
    )

    watch = failover_status(long, 0.0)

    assert len(watch.service) == len(watch.reason or "") == TEXT_MAX
    assert len(watch.silent) == SILENT_MAX
    assert {len(reason) for reason in watch.silent} == {TEXT_MAX}


def worker(folder: Path, *values: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, values)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_several_workers_show_the_latest_view(tmp_path: Path) -> None:
    """With several workers, /metrics has the latest Sentinel counts, the highest generation and all connections."""
    workers = [worker(tmp_path, 3, 3, 1, 0, 5), worker(tmp_path, 1, 3, 3, 2, 2)]

    together = Metrics({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}).render()[0].decode().splitlines()
    for one in workers:
        one.communicate()
    ended = Metrics({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}).render()[0].decode()

    for line in (
        'tollhouse_store_generation{store="limits"} 3.0',
        'tollhouse_sentinels_known{store="limits"} 3.0',
        'tollhouse_sentinels_reachable{store="limits"} 3.0',
        'tollhouse_replicas_promotable{store="limits"} 2.0',
        'tollhouse_store_connections_total{store="limits"} 7.0',
    ):
        assert line in together
    assert "tollhouse_sentinels_reachable{" not in ended
    assert 'tollhouse_store_connections_total{store="limits"} 7.0' in ended.splitlines()


def store(name: str, watch: FailoverStatus | None) -> StoreStatus:
    return StoreStatus(
        store=name,
        place="redis://h:6379/0",
        connection="connected",
        server="valkey 9.1.2",
        role="master",
        replication_id=None,
        round_trip_ms=0.1,
        watch=watch,
        problem=None,
    )


def watched(**changes: object) -> FailoverStatus:
    fields = {name: getattr(WATCH, name) for name in WATCH.__struct_fields__}
    return FailoverStatus(**{**fields, **changes})


#   what is known of the service, words of each warning
WARNED: list[tuple[FailoverStatus | None, list[list[str]]]] = [
    (None, []),
    (WATCH, []),
    (watched(sentinels_known=0, sentinels_reachable=0, quorum=0), []),
    (watched(sentinels_reachable=2, silent=("h:1: no answer",)), [["main: 2 of 3", "h:1: no answer"]]),
    (watched(sentinels_reachable=1), [["main: 1 of 3", "too few for a failover"]]),
    (watched(sentinels_known=5, sentinels_reachable=3, quorum=4), [["3 of 5", "too few for a failover"]]),
    (watched(replicas_promotable=0), [["main: no replica", "durable=false"]]),
    (watched(replicas_promotable=0, sentinels_reachable=0), [["0 of 3"], ["no replica"]]),
    (watched(generation=0, primary=None, replicas_promotable=0), []),
]


@pytest.mark.parametrize(("watch", "wanted"), WARNED)
def test_check_warns_of_what_a_failover_would_meet(watch: FailoverStatus | None, wanted: list[list[str]]) -> None:
    """`tollhouse check` warns of missing Sentinels and of having no replica to promote, once per service."""
    found = list(warnings([store("sessions", watch), store("limits", watch)], keyed=True))

    assert len(found) == len(wanted)
    for warning, words in zip(found, wanted, strict=True):
        for word in words:
            assert word in warning


def test_check_warns_of_what_the_settings_turn_off() -> None:
    """`tollhouse check` says that limits and cache are off, each with the variable that turns it on."""
    off = {"TOLLHOUSE_LIMITS_ENABLED": "false", "TOLLHOUSE_CACHE_ENABLED": "false"}
    environ = {"TOLLHOUSE_URL": f"fake://{secrets.token_hex(8)}", **off}

    checked = CliRunner().invoke(check, ["--json"], env=environ)

    assert checked.exit_code == 0
    warned = json.loads(checked.stdout)["warnings"]
    assert [sum(f"{name}=true" in warning for warning in warned) for name in off] == [1, 1]
