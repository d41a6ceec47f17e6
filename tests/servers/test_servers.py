"""Every server of the table does what docs/servers.md says of it: `make test-servers`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.imports import ROOT
from tests.servers import checks
from tests.servers.accounts import FEWEST
from tests.servers.catalog import CHECKS, SERVERS, Server, cell, chosen, find

SPECIFICATIONS = [f"tests/spec/{folder}" for folder in ("accounts", "cache", "limits", "sessions")]
SPECIFICATIONS_S = 300.0
CALLS = [check for check in CHECKS if check in checks.ON_SERVER]
FAILOVERS: dict[str, tuple[str, ...]] = {"forced failover": (), "coordinated failover": ("COORDINATED",)}

of_every_server = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)


def program(server: Server) -> Path:
    """Return the program of a server; skip the test if it is not to run, or not there."""
    if not chosen(server):
        pytest.skip("`make test-servers` tests other servers")
    found, reason = find(server)
    if found is None:
        pytest.skip(reason)
    return found


@of_every_server
@pytest.mark.parametrize("check", CALLS)
async def test_a_server_does_what_the_page_says(server: Server, check: str, tmp_path: Path) -> None:
    """Each call works on each server, or ends as the page says."""
    binary = program(server)
    data = tmp_path / "data" if check == "durable create" else None
    if data is not None:
        data.mkdir()
    with checks.server_on(binary, data) as running:
        if data is not None and cell(server, check).result != "refused":
            await checks.sync_always(running.url)
        assert await checks.outcome(checks.ON_SERVER[check], running.url) == cell(server, check).result


@of_every_server
async def test_check_names_the_commands_that_a_server_does_not_know(server: Server) -> None:
    """`tollhouse check` warns of what a server does not know, and of nothing else."""
    binary = program(server)
    if cell(server, "session").result == "refused":
        pytest.skip("it is refused")
    with checks.server_on(binary) as running:
        assert await checks.missing_commands(running.url) == server.lacks


@pytest.mark.sentinel
@of_every_server
@pytest.mark.parametrize("check", FAILOVERS)
async def test_state_survives_a_failover(server: Server, check: str) -> None:
    """Sentinel replaces the primary: what was promised holds on the next one."""
    binary = program(server)
    if cell(server, check).result == "refused":
        pytest.skip("it is refused")
    assert await checks.failover(binary, *FAILOVERS[check]) == cell(server, check).result


@pytest.mark.sentinel
@of_every_server
async def test_an_account_with_few_rights_survives_a_failover(server: Server) -> None:
    """The account with the fewest rights is promised nothing, and is not served what was invalidated or revoked."""
    binary = program(server)
    if cell(server, "few rights").result == "refused":
        pytest.skip("it is refused")
    assert await checks.failover(binary, account=FEWEST, unknown=server.lacks) == cell(server, "few rights").result


@of_every_server
def test_the_specifications_hold_on_a_server(server: Server) -> None:
    """What is specified of limits, sessions, cache and accounts holds on each server, script by script."""
    binary = program(server)
    if cell(server, "specifications").result == "refused":
        pytest.skip("it is refused")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "server and not fake", *SPECIFICATIONS],
        check=False,
        cwd=ROOT,
        env=os.environ | {"TOLLHOUSE_EMBEDDED_BINARY": str(binary)},
        capture_output=True,
        text=True,
        timeout=SPECIFICATIONS_S,
    )
    assert done.returncode == 0, done.stdout[-4000:]
