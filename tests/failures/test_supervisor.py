"""The supervisor and its process: servers start, exits are reported, and nothing outlives the owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S, alive, gone_within
from tollhouse.errors import ConfigurationError
from tollhouse.stores.embedded import supervisor_process
from tollhouse.stores.embedded.supervisor import STOP_TIMEOUT_S, ServerExit, Supervisor

WAIT = ("/bin/sh", "-c", "exec sleep 60")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A supervisor of this test."""
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def exit_of(supervisor: Supervisor, *names: str) -> ServerExit:
    """Wait until one of the servers, or the supervisor process, is reported to have exited."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            supervisor.check(*names)
        except ServerExit as error:
            return error
        time.sleep(0.01)
    raise AssertionError(f"no exit of {names} was reported")


def test_one_supervisor_runs_several_servers(supervisor: Supervisor) -> None:
    """Servers are started one by one; stop ends them, the supervisor process and the directory, once and for good."""
    pids = {supervisor.start(name, WAIT) for name in ("one", "two", "three")}
    assert all(map(alive, pids))
    assert len(pids) == 3

    supervisor.stop()

    assert gone_within(pids | {supervisor.pid})
    assert not supervisor.directory.exists()
    supervisor.stop()
    with pytest.raises(ServerExit, match="supervisor ended"):
        supervisor.start("four", WAIT)


def test_an_exit_is_reported_until_the_server_starts_again(supervisor: Supervisor) -> None:
    """`check` raises the exits of the servers that it names, with code and last line of the log, until a new start."""
    supervisor.start("steady", WAIT)
    supervisor.start("hasty", ("/bin/sh", "-c", "echo first; echo the last word; exit 3"))

    error = exit_of(supervisor, "steady", "hasty")

    assert (error.name, error.reason) == ("hasty", "ended with code 3: the last word")
    supervisor.check("steady")
    supervisor.start("hasty", WAIT)
    supervisor.check("steady", "hasty")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A supervisor that can make no directory raises ConfigurationError, which says what to set."""
    with pytest.raises(ConfigurationError) as raised:
        Supervisor(below=tmp_path / "missing")

    assert raised.value.setting == "TMPDIR"
    assert "in the code or as TOLLHOUSE_URL" in raised.value.remedy


def test_a_name_has_one_process(supervisor: Supervisor) -> None:
    """Starting a name again replaces its process, which is killed first, even under SIGSTOP."""
    first = supervisor.start("one", WAIT)
    os.kill(first, signal.SIGSTOP)

    second = supervisor.start("one", WAIT)

    assert not alive(first)
    assert alive(second)
    supervisor.check("one")


def test_a_program_that_cannot_run_is_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    """A file that is no program for this machine is refused with the system's error."""
    (tmp_path / "server").write_bytes(b"\x7fELF for another machine")
    (tmp_path / "server").chmod(0o755)

    with pytest.raises(ServerExit, match=r"one could not be started: .*Exec format error"):
        supervisor.start("one", (str(tmp_path / "server"),))


def test_a_dead_supervisor_process_is_reported(supervisor: Supervisor) -> None:
    """A supervisor whose process was killed starts nothing more, and says so."""
    os.kill(supervisor.pid, signal.SIGKILL)

    assert exit_of(supervisor).name == "supervisor"
    with pytest.raises(ServerExit, match="supervisor ended"):
        supervisor.start("one", WAIT)


def test_a_start_is_given_up_if_the_supervisor_process_hangs() -> None:
    """A supervisor process that does not reply fails a start after a bounded time."""
    supervisor = Supervisor(start_timeout_s=0.1, stop_timeout_s=0.1)
    os.kill(supervisor.pid, signal.SIGSTOP)

    with pytest.raises(ServerExit) as raised:
        supervisor.start("one", WAIT)
    supervisor.stop()

    assert (raised.value.name, "0.1 s" in raised.value.reason) == ("supervisor", True)


def test_a_supervisor_process_that_hangs_is_killed() -> None:
    """A supervisor process that does not end its servers in time is killed, and they die with it."""
    supervisor = Supervisor(stop_timeout_s=0.1)
    server = supervisor.start("one", WAIT)
    os.kill(supervisor.pid, signal.SIGSTOP)

    supervisor.stop()

    assert gone_within({supervisor.pid, server})
    assert not supervisor.directory.exists()


def test_a_server_that_ignores_sigterm_is_killed(supervisor: Supervisor) -> None:
    """A server has a few seconds to exit after SIGTERM; then it is killed."""
    server = supervisor.start("one", ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"))
    give_up_s = time.monotonic() + PATIENCE_S
    while "ready" not in (supervisor.directory / "one.log").read_text() and time.monotonic() < give_up_s:
        time.sleep(0.01)
    began_s = time.monotonic()

    supervisor.stop()

    assert supervisor_process.STOP_S <= time.monotonic() - began_s < STOP_TIMEOUT_S
    assert not alive(server)


def test_an_owner_that_does_not_read_is_supervised_all_the_same() -> None:
    """A supervisor process whose output is not read goes on, and ends its servers when standard input ends."""
    directory = Path(tempfile.mkdtemp(prefix="th-"))
    process = subprocess.Popen(
        [sys.executable, "-I", supervisor_process.__file__, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(["one", *WAIT]).encode() + b"\n")
    server = json.loads(process.stdout.readline())["pid"]
    process.stdout.close()

    process.stdin.write(json.dumps(["two", *WAIT]).encode() + b"\n")
    process.stdin.close()

    assert process.wait(PATIENCE_S) == 0
    assert not alive(server)
    assert not directory.exists()
