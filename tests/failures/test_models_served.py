"""Models of the settings in a running service."""

from __future__ import annotations

import http.client
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.failures.test_serve import ServiceProcess, serve

STOPPED_S = 10
MODULE = """
import threading

def upper(text):
    return text.upper()

def stuck(text):
    threading.Event().wait()
"""
SETTINGS = """
[ai.models.upper]
call = "answers_of_shop:upper"
version = "1"

[ai.models.stuck]
call = "answers_of_shop:stuck"
version = "1"
timeout_ms = 200
"""


def ask(served: ServiceProcess, model: str) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        headers = {"X-Api-Key": served.kept["admin_key"][0], "Content-Type": "application/json"}
        connection.request("POST", f"/v1/ai/{model}", msgspec.json.encode({"input": "a"}), headers)
        response = connection.getresponse()
        return response.status, msgspec.json.decode(response.read())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_models_of_the_working_folder_are_served(tmp_path: Path, workers: str) -> None:
    """Every worker finds them; one that never returns does not keep the service from stopping."""
    (tmp_path / "answers_of_shop.py").write_text(MODULE)
    (tmp_path / "tollhouse.toml").write_text(SETTINGS)
    with serve(tmp_path, "--workers", workers) as served:
        answers = [ask(served, "upper") for _ in range(4)]
        late = [ask(served, "stuck")[0] for _ in range(4)]

        served.process.send_signal(signal.SIGTERM)
        code = served.process.wait(STOPPED_S)

    assert answers == [(200, {"model": "upper", "output": "A"})] * 4
    assert late == [504] * 4
    assert code == 0
