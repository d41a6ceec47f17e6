"""Metrics: what is counted, and that several workers answer as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tollhouse.metrics import Metrics

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
    metrics.cache("ai:langid", "hit")
    metrics.cache_saved("ai:langid", 1.5)
    metrics.cache_saved("ai:langid", -1.0)
    metrics.store_up("limits", True)
    metrics.script("limits", "limits/take", 0.0003)
    metrics.discarded_state("foreign")

    lines = text_of(metrics).splitlines()
    for line in (
        'tollhouse_ratelimit_decisions_total{outcome="allowed",policy="api"} 2.0',
        'tollhouse_session_operations_total{operation="verify",outcome="ok"} 1.0',
        'tollhouse_logins_total{outcome="wrong"} 1.0',
        "tollhouse_password_hash_duration_seconds_count 1.0",
        'tollhouse_cache_requests_total{cache="ai:langid",result="hit"} 1.0',
        'tollhouse_cache_saved_seconds_total{cache="ai:langid"} 1.5',
        'tollhouse_store_up{store="limits"} 1.0',
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


def worker(folder: Path, state: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, state],
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


def test_a_process_that_may_not_be_signalled_is_alive(shared: Path) -> None:
    """Only what dead processes of our own said is removed; files of others and of the living stay."""
    living = shared / f"gauge_livemin_{os.getppid()}.db"
    foreign = shared / "gauge_livemin_worker.db"
    for path in (living, foreign):
        path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00")

    text_of(Metrics({"PROMETHEUS_MULTIPROC_DIR": str(shared)}))

    assert living.exists()
    assert foreign.exists()
