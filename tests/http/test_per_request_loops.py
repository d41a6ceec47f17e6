"""Tests of apps: a test client that makes an event loop for each request sees the limits, on one server."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.http.per_request_loops import APPS, statuses
from tests.processes import gone_within
from tests.project.imports import ROOT
from tollhouse.stores.embedded.server import bundled_binary


@pytest.mark.parametrize("lifespan", [False, True], ids=["without-lifespan", "with-lifespan"])
@pytest.mark.parametrize("edge", APPS)
def test_a_limit_is_reached_on_a_fake_server(edge: str, lifespan: bool) -> None:
    """B13: on `fake://NAME` the third of three requests is refused at every edge, with a lifespan and without."""
    app = APPS[edge](f"fake://{secrets.token_hex(8)}")

    assert statuses(app, lifespan=lifespan) == [200, 200, 429]


def test_a_limit_is_reached_on_one_embedded_server(tmp_path: Path) -> None:
    """B13: on `embedded://` all edges of a process reach their limits on one server, and none is left after it."""
    program, starts = tmp_path / "server", tmp_path / "starts"
    program.write_text(f'#!/bin/sh\necho $$ >> {starts}\nexec {bundled_binary()} "$@"\n')
    program.chmod(0o755)

    served = subprocess.run(
        [sys.executable, "-m", "tests.http.per_request_loops", "embedded://"],
        env={**os.environ, "TOLLHOUSE_EMBEDDED_BINARY": str(program)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    found = json.loads(served.stdout)
    assert list(found.values()) == [[200, 200, 429]] * 2 * len(APPS), found
    (server,) = map(int, starts.read_text().split())
    assert gone_within({server})
    assert served.stderr == ""
