"""Metrics: names and labels, and scrapes of several workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram

from tollhouse.metrics import FAMILIES_MAX, Metrics

WORKER = """
import sys
from tollhouse.metrics import Metrics
metrics = Metrics()
metrics.decision("api", "allowed")
metrics.script("limits", "limits/take", 0.0003)
metrics.store_up("limits", sys.argv[1] == "up")
print("ready", flush=True)
if sys.stdin.readline():
    sys.stdout.write(metrics.render()[0].decode())
"""


def text_of(metrics: Metrics) -> str:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=")
    return body.decode()


def test_every_count_has_its_name_and_labels() -> None:
    """Each method counts under the name that the documents give."""
    metrics = Metrics()

    metrics.decision("api", "allowed")
    metrics.decision("api", "allowed")
    metrics.session("verify", "ok")
    metrics.login("wrong")
    metrics.password_hash(0.02)
    metrics.hashes_queued("trusted", 3)
    metrics.hash_refused("untrusted", "full")
    metrics.cache("ai:langid", "hit")
    metrics.cache_saved("ai:langid", 1.5)
    metrics.cache_saved("ai:langid", -1.0)
    metrics.store_up("limits", True)
    metrics.store_failure("limits", "ambiguous")
    metrics.breaker("limits", open=True)
    metrics.script("limits", "limits/take", 0.0003)
    metrics.discarded_state("foreign")

    lines = text_of(metrics).splitlines()
    for line in (
        'tollhouse_ratelimit_decisions_total{outcome="allowed",policy="api"} 2.0',
        'tollhouse_session_operations_total{operation="verify",outcome="ok"} 1.0',
        'tollhouse_logins_total{outcome="wrong"} 1.0',
        "tollhouse_password_hash_duration_seconds_count 1.0",
        'tollhouse_password_hash_queue{lane="trusted"} 3.0',
        'tollhouse_password_hash_refused_total{lane="untrusted",reason="full"} 1.0',
        'tollhouse_cache_requests_total{cache="ai:langid",result="hit"} 1.0',
        'tollhouse_cache_saved_seconds_total{cache="ai:langid"} 1.5',
        'tollhouse_store_up{store="limits"} 1.0',
        'tollhouse_store_failures_total{outcome="ambiguous",store="limits"} 1.0',
        'tollhouse_breaker_open{store="limits"} 1.0',
        'tollhouse_script_duration_seconds_bucket{le="0.0005",script="limits/take",store="limits"} 1.0',
        'tollhouse_script_duration_seconds_bucket{le="0.00025",script="limits/take",store="limits"} 0.0',
        'tollhouse_state_discarded_total{kind="foreign"} 1.0',
        'tollhouse_build_info{version="0.1.0"} 1.0',
    ):
        assert line in lines


def test_two_metrics_share_nothing() -> None:
    """Each object counts for itself, so that two applications in one process do not mix."""
    one, other = Metrics(), Metrics()

    one.login("ok")

    assert 'tollhouse_logins_total{outcome="ok"}' not in text_of(other)


def decided(metrics: Metrics) -> float | None:
    labels = {"policy": "api", "outcome": "refused"}
    return metrics.registry.get_sample_value("tollhouse_ratelimit_decisions_total", labels)


def test_decisions_are_there_whenever_they_are_read() -> None:
    """However many decisions are counted between two looks, each look shows all of them, by whatever way it is made."""
    metrics = Metrics()

    for expected in (1_000, 2_000):
        for _ in range(1_000):
            metrics.decision("api", "refused")
        assert decided(metrics) == expected
    metrics.decision("api", "refused")

    name = "tollhouse_ratelimit_decisions_total"
    (found,) = metrics.registry.restricted_registry([name]).collect()
    assert [one.value for one in found.samples if one.name == name] == [2_001]


def test_no_decision_of_several_threads_is_lost() -> None:
    """Event loops in several threads may share one object."""
    metrics = Metrics()

    def count() -> None:
        for _ in range(20_000):
            metrics.decision("api", "refused")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        decided(metrics)
    for thread in threads:
        thread.join()

    assert decided(metrics) == 80_000


DURATIONS_S = (0.0, 0.0001, 0.00010001, 0.0003, 0.5, 1.0, 7.0)
"""Both sides of bounds, and beyond the last one."""


def observed(metrics: Metrics, suffix: str, **labels: str) -> float | None:
    labels = {"store": "limits", "script": "limits/take", **labels}
    return metrics.registry.get_sample_value(f"tollhouse_script_duration_seconds_{suffix}", labels)


def test_script_durations_are_those_of_a_prometheus_histogram() -> None:
    """However many are recorded between two scrapes, all samples are those of a histogram that observed each."""
    metrics, registry = Metrics(), CollectorRegistry()
    bounds = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
    peer = Histogram("peer", "", ["store", "script"], registry=registry, buckets=bounds)

    for _ in range(3):
        for seconds in DURATIONS_S:
            metrics.script("limits", "limits/take", seconds)
            peer.labels("limits", "limits/take").observe(seconds)
        for bound in (*map(str, bounds), "+Inf"):
            expected = registry.get_sample_value(
                "peer_bucket", {"store": "limits", "script": "limits/take", "le": bound}
            )
            assert observed(metrics, "bucket", le=bound) == expected is not None
        for suffix in ("count", "sum"):
            expected = registry.get_sample_value(f"peer_{suffix}", {"store": "limits", "script": "limits/take"})
            assert observed(metrics, suffix) == pytest.approx(expected)


def test_no_duration_of_several_threads_is_lost() -> None:
    """Event loops in several threads may share one object, and scrapes run beside them."""
    metrics = Metrics()

    def record() -> None:
        for _ in range(20_000):
            metrics.script("limits", "limits/take", 0.25)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        observed(metrics, "count")
    for thread in threads:
        thread.join()

    assert observed(metrics, "count") == 80_000
    assert observed(metrics, "sum") == 20_000


def worker(folder: Path, state: str, program: str = WORKER) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, state],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "metrics"
    folder.mkdir()
    return folder


def test_any_worker_answers_for_all(shared: Path) -> None:
    """Workers' counts are summed, and a store is up only while every living worker reaches it."""
    well, unwell = worker(shared, "up"), worker(shared, "down")
    both = text_of(Metrics({"PROMETHEUS_MULTIPROC_DIR": str(shared)}))
    unwell.communicate()

    rest, _ = well.communicate("render\n")

    assert 'tollhouse_store_up{store="limits"} 0.0' in both
    assert 'tollhouse_store_up{store="limits"} 1.0' in rest
    for text in (both, rest):
        assert 'tollhouse_ratelimit_decisions_total{outcome="allowed",policy="api"} 2.0' in text
        assert 'tollhouse_script_duration_seconds_count{script="limits/take",store="limits"} 2.0' in text


BUSY_WORKER = """
import asyncio, sys
from tollhouse.metrics import FLUSH_S, Metrics

class Loop(asyncio.SelectorEventLoop):
    now_s = 0.0

    def time(self):
        return self.now_s

async def count(metrics, loop):
    for _ in range(100):
        metrics.decision("api", "refused")
        metrics.cache_bytes("user", "served", 7)
        metrics.session("verify", "ok")
        metrics.script("limits", "limits/take", 0.5)
    loop.now_s += FLUSH_S
    for _ in range(3):
        await asyncio.sleep(0)
    metrics.decision("api", "refused")

metrics = Metrics()
while True:
    loop = Loop()
    loop.run_until_complete(count(metrics, loop))
    loop.close()
    print("ready", flush=True)
    if not sys.stdin.readline():
        break
"""
"""Counts in one event loop after another; each loop has a clock that only the worker moves."""


def decisions_of_others(folder: Path) -> float:
    return total_of_others(folder, "tollhouse_ratelimit_decisions_total")


def total_of_others(folder: Path, metric: str) -> float:
    """Return what a worker that counted nothing answers for all."""
    text = text_of(Metrics({"PROMETHEUS_MULTIPROC_DIR": str(folder)}))
    (line,) = [line for line in text.splitlines() if line.startswith(metric + "{")]
    return float(line.split()[-1])


def test_what_a_busy_worker_decided_is_soon_seen_by_others(shared: Path) -> None:
    """Pending counts are flushed by a timer of the event loop, also if an earlier loop ended before its timer."""
    process = worker(shared, "up", BUSY_WORKER)
    assert process.stdin is not None
    assert process.stdout is not None

    first = decisions_of_others(shared)
    assert total_of_others(shared, "tollhouse_cache_bytes_total") == 700
    assert total_of_others(shared, "tollhouse_session_operations_total") == 100
    assert total_of_others(shared, "tollhouse_script_duration_seconds_count") == 100
    assert total_of_others(shared, "tollhouse_script_duration_seconds_sum") == 50
    process.stdin.write("again\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    second = decisions_of_others(shared)
    process.communicate()

    assert (first, second) == (100, 201)


def test_what_a_worker_decided_last_is_told_when_it_ends(shared: Path) -> None:
    """A worker that ends before the timer loses no counts."""
    process = worker(shared, "up", BUSY_WORKER)

    process.communicate()

    assert decisions_of_others(shared) == 101


def test_a_process_that_may_not_be_signalled_is_alive(shared: Path) -> None:
    """Only what dead processes of our own said is removed; files of others and of the living stay."""
    living = shared / f"gauge_livemin_{os.getppid()}.db"
    foreign = shared / "gauge_livemin_worker.db"
    for path in (living, foreign):
        path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00")

    text_of(Metrics({"PROMETHEUS_MULTIPROC_DIR": str(shared)}))

    assert living.exists()
    assert foreign.exists()


def test_families_of_cached_values_are_bounded() -> None:
    """The first word of a key may come from a client: beyond the bound, families share one label."""
    metrics = Metrics()
    for number in range(FAMILIES_MAX + 50):
        metrics.cache(f"family{number}", "miss")
        metrics.cache_saved(f"family{number}", 1.0)
    metrics.cache("family0", "miss")

    read = metrics.registry.get_sample_value
    assert read("tollhouse_cache_requests_total", {"cache": "other", "result": "miss"}) == 50
    assert read("tollhouse_cache_saved_seconds_total", {"cache": "other"}) == 50
    assert read("tollhouse_cache_requests_total", {"cache": "family0", "result": "miss"}) == 2
