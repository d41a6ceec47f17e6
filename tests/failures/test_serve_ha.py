"""`tollhouse serve --ha`: the service with its own primary, two replicas and three Sentinels."""

from __future__ import annotations

import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.failures.test_serve import COMMAND, ServiceProcess, environment, serve
from tests.processes import children_of, gone_within
from tollhouse.stores.embedded.blocking_client import call
from tollhouse.stores.urls import SentinelService, TcpAddress, parse

PATIENCE_S = 15.0

pytestmark = pytest.mark.sentinel


def report_of(served: ServiceProcess) -> list[dict[str, Any]]:
    status, body = served.get("/readyz?verbose")
    assert status == 200, body
    return msgspec.json.decode(body)["stores"]


def told_by(served: ServiceProcess) -> dict[str, Any]:
    """Return the Sentinel counts of the service, once it knows all Sentinels."""
    give_up_s = time.monotonic() + PATIENCE_S
    while (watch := report_of(served)[1]["watch"])["sentinels_reachable"] < 3 and time.monotonic() < give_up_s:
        time.sleep(0.02)
    return watch


@pytest.mark.parametrize(("args", "variables"), [(["--ha"], {}), ([], {"TOLLHOUSE_URL": "embedded-sentinel://"})])
def test_it_tells_of_its_topology_and_a_killed_one_leaves_nothing(
    tmp_path: Path, args: list[str], variables: dict[str, str]
) -> None:
    """`--ha`, or the URL: three Sentinels, two replicas, four databases; kill -9 leaves no process after 5 s."""
    with serve(tmp_path, *args, "--workers", "2", **variables) as served:
        watch = told_by(served)
        stores = report_of(served)
        family = children_of(served.process.pid)
        metrics = served.get("/metrics")[1].decode().splitlines()
        checked = subprocess.run(
            [*COMMAND, "check", "--json"], check=False, env=environment(tmp_path), cwd=tmp_path, capture_output=True
        )

        assert stat.S_IMODE(served.key_file.stat().st_mode) == 0o600
        assert served.kept["secret"]
        served.process.kill()

        assert gone_within(family)
        assert served.port_is_free()
    assert len(family) >= 7 + 2, "a supervisor process, three servers and three Sentinels, and two workers"
    assert (watch["sentinels_known"], watch["sentinels_reachable"], watch["quorum"]) == (3, 3, 2)
    assert (watch["replicas_promotable"], watch["generation"], watch["why"]) == (2, 1, "first")
    assert [store["place"].rpartition("/")[2] for store in stores] == ["0", "1", "2", "3"]
    assert len({store["replication_id"] for store in stores}) == 1
    assert 'tollhouse_sentinels_reachable{store="limits"} 3.0' in metrics
    assert 'tollhouse_replicas_promotable{store="limits"} 2.0' in metrics
    answer = msgspec.json.decode(checked.stdout)
    assert (checked.returncode, answer["ok"], answer["warnings"]) == (0, True, [])
    assert answer["stores"][0]["watch"]["replicas_promotable"] == 2
    for secret in (parse("", served.kept["urls"]["limits"]).password, served.kept["admin_key"][0]):
        assert secret
        assert secret not in (tmp_path / "log").read_text() + checked.stdout.decode()


def test_takes_go_on_after_a_failover(tmp_path: Path) -> None:
    """SENTINEL FAILOVER, asked through the URL of the run-time file: takes succeed, on another server."""
    (tmp_path / "tollhouse.toml").write_text('[limits.policies.hundred]\nlimit = "100000/hour"\n')
    with serve(tmp_path, "--ha") as served:
        before = told_by(served)
        assert served.take("ada") == 200
        place = parse("", served.kept["urls"]["limits"])
        assert isinstance(place.target, SentinelService)
        (host, port), *_ = place.target.hosts
        assert place.target.password is not None

        began_s = time.monotonic()
        asked = call(
            TcpAddress(host=host, port=port), (place.target.password,), "SENTINEL", "FAILOVER", place.target.service
        )

        assert asked == "OK"
        statuses: list[int] = []
        give_up_s = time.monotonic() + PATIENCE_S
        while (watch := report_of(served)[1]["watch"])["generation"] == 1 and time.monotonic() < give_up_s:
            statuses.append(served.take("ada"))
        statuses.append(served.take("ada"))
        assert watch["generation"] == 2
        assert watch["primary"] != before["primary"]
        assert time.monotonic() - began_s < PATIENCE_S
        assert set(statuses) == {200}
        metrics = served.get("/metrics")[1].decode()
        assert 'tollhouse_store_generation{store="limits"} 2.0' in metrics.splitlines()


def test_a_stopped_one_ends_well(tmp_path: Path) -> None:
    """SIGTERM ends `serve --ha` with exit code 0, and all its servers and Sentinels with it."""
    with serve(tmp_path, "--ha") as served:
        family = children_of(served.process.pid)

        served.process.terminate()

        assert served.process.wait(10) == 0
        assert gone_within(family)
        assert not served.key_file.exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"TOLLHOUSE_URL": "redis://ada:sesame@h:6379"},
        {"TOLLHOUSE_URL": "embedded:///tmp/kept"},
        {"TOLLHOUSE_CACHE_URL": "unix:///run/v.sock"},
    ],
)
def test_ha_is_refused_beside_servers_that_exist(tmp_path: Path, variables: dict[str, str]) -> None:
    """`--ha` with a store on another server, or with persistent data, is exit code 2 and one line that names it."""
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--ha"],
        check=False,
        env=environment(tmp_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("tollhouse: --ha: ")
    assert "leave out --ha or this URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "sesame" not in done.stderr
