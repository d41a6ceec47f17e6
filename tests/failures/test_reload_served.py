"""A service whose settings file changes while it runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.failures.test_serve import ServiceProcess, serve
from tests.processes import children_of

PATIENCE_S = 15.0


def write(folder: Path, limit: str) -> None:
    """Replace the settings file atomically."""
    fresh = folder / "fresh"
    fresh.write_text(f'[limits.policies.hundred]\nlimit = "{limit}"\n')
    fresh.replace(folder / "tollhouse.toml")


def limits_of(served: ServiceProcess, times: int) -> set[str]:
    """Return the limits of the policy, over new connections, so that every worker is asked."""
    return {_limit(served) for _ in range(times)}


def _limit(served: ServiceProcess) -> str:
    policies = msgspec.json.decode(served.get("/v1/limits")[1])["policies"]
    named = {policy["name"]: policy["limits"][0] for policy in policies}
    return f"{named['hundred']['units']}/{named['hundred']['window_ms']}"


def events(log: Path, event: str) -> int:
    """Return how often an event that begins like this was logged."""
    return log.read_text().count(f'"event":"{event}')


def await_true(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_changed_file_holds_in_every_worker(tmp_path: Path, workers: str) -> None:
    """Changed policies are soon in force in all workers, and counters are kept; removed policies stay in force."""
    write(tmp_path, "2/hour")
    with serve(tmp_path, "--workers", workers) as served:
        before = [served.take("ada") for _ in range(3)]

        log = tmp_path / "log"
        write(tmp_path, "3/hour")
        await_true(lambda: events(log, "settings file applied") == int(workers))
        assert limits_of(served, 8) == {"3/3600000"}
        after = [served.take("ada") for _ in range(2)]
        (tmp_path / "tollhouse.toml").write_text("")
        await_true(lambda: events(log, "removed policies stay in force") == int(workers))
        assert limits_of(served, 8) == {"3/3600000"}

    assert before == [200, 200, 429]
    assert after == [200, 429]


def test_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """A file that cannot be used is logged once with the reason, counted, and the previous policies stay in force."""
    write(tmp_path, "2/hour")
    with serve(tmp_path) as served:
        write(tmp_path, "2/huor")
        log = tmp_path / "log"
        await_true(lambda: "settings file refused" in log.read_text())
        held = limits_of(served, 4)
        metrics = served.get("/metrics")[1].decode()

    assert held == {"2/3600000"}
    assert events(log, "settings file refused") == 1
    assert "did you mean 2/hour?" in log.read_text()
    assert 'tollhouse_settings_reads_total{outcome="refused"} 1.0' in metrics


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_looks_at_the_file(tmp_path: Path, workers: str) -> None:
    """SIGHUP ends and restarts no process of a service that follows a file: every worker checks the file at once."""
    write(tmp_path, "2/hour")
    with serve(tmp_path, "--workers", workers) as served:
        family = children_of(served.process.pid)
        write(tmp_path, "3/hour")
        served.process.send_signal(signal.SIGHUP)
        await_true(lambda: limits_of(served, 8) == {"3/3600000"})

        assert served.process.poll() is None
        assert children_of(served.process.pid) == family
