"""Clients of a served process that close their connection while they wait: the server itself tells of it."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.failures.test_serve import ServiceProcess, serve

PATIENCE_S = 10.0
WAITING_S = 0.5
"""Long enough for a request to reach its wait, and for a waiting one to poll twice."""
FILE = """
[limits.policies.jobs]
limit = "1/hour"
algorithm = "concurrency"

[limits.policies.api]
limit = "1/3 seconds"
algorithm = "gcra"
"""


def send(served: ServiceProcess, verb: str, **body: Any) -> http.client.HTTPConnection:
    """Send a request, and return the connection on which its response will come."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    headers = {"X-Api-Key": served.kept["admin_key"][0], "Content-Type": "application/json"}
    connection.request("POST", f"/v1/limits/{verb}", msgspec.json.encode({"key": "ada", **body}), headers)
    return connection


def call(served: ServiceProcess, verb: str, **body: Any) -> tuple[int, Any]:
    connection = send(served, verb, **body)
    try:
        response = connection.getresponse()
        return response.status, msgspec.json.decode(response.read())
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tollhouse.toml").write_text(FILE)
    return tmp_path


def test_clients_that_hang_up_leave_everything_to_others(folder: Path) -> None:
    """A permit that is released goes to a client that is there, and so do the units that are restored."""
    with serve(folder) as served:
        _, held = call(served, "lease", policy="jobs")
        call(served, "take", policy="api")
        gone = [send(served, "lease", policy="jobs", wait_ms=60_000) for _ in range(3)]
        gone += [send(served, "acquire", policy="api", wait_ms=60_000) for _ in range(3)]
        time.sleep(WAITING_S)
        for connection in gone:
            connection.close()
        began_s = time.monotonic()

        units = call(served, "acquire", policy="api", wait_ms=60_000)[0]
        waited_s = time.monotonic() - began_s
        call(served, "release", policy="jobs", id=held["id"])
        time.sleep(WAITING_S)
        permit = call(served, "lease", policy="jobs")[0]

    assert (units, permit) == (200, 200)
    assert waited_s < 3
    assert "499" not in (folder / "log").read_text()
