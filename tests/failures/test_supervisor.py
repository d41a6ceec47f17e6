"""The guard and the pipe to it: servers start, ends are told, and nothing outlives the owner."""

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
from tollhouse.stores.embedded import supervisor as module
from tollhouse.stores.embedded import supervisor_process as guard
from tollhouse.stores.embedded.supervisor import ServerExit, Supervisor

WAIT = ("/bin/sh", "-c", "exec sleep 60")


@pytest.fixture
def guarded() -> Iterator[Supervisor]:
    """A guard of this test."""
    guarded = Supervisor.open()
    yield guarded
    guarded.stop()


def end_of(guarded: Supervisor, *names: str) -> ServerExit:
    """Wait for the news that one of the servers ended."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            guarded.check(*names)
        except ServerExit as ended:
            return ended
        time.sleep(0.01)
    raise AssertionError(f"nothing was heard of {names}")


def test_one_guard_owns_several_servers(guarded: Supervisor) -> None:
    """Servers are started one by one; stop ends all of them, the guard and the directory, once and for good."""
    pids = {guarded.start(name, WAIT) for name in ("one", "two", "three")}
    assert all(map(alive, pids))
    assert len(pids) == 3

    guarded.stop()

    assert gone_within(pids | {guarded.pid})
    assert not guarded.directory.exists()
    guarded.stop()
    with pytest.raises(ServerExit, match="guard ended"):
        guarded.start("four", WAIT)


def test_an_end_is_told_to_who_asks_for_it(guarded: Supervisor) -> None:
    """The end of a server is told by name, code and last word, to who asks for that server, until it starts again."""
    guarded.start("steady", WAIT)
    guarded.start("hasty", ("/bin/sh", "-c", "echo first; echo the last word; exit 3"))

    ended = end_of(guarded, "steady", "hasty")

    assert (ended.name, ended.how) == ("hasty", "ended with code 3: the last word")
    guarded.check("steady")
    guarded.start("hasty", WAIT)
    guarded.check("steady", "hasty")


def test_a_name_has_one_process(guarded: Supervisor) -> None:
    """Starting a name again replaces its process, which is killed first, even under SIGSTOP."""
    first = guarded.start("one", WAIT)
    os.kill(first, signal.SIGSTOP)

    second = guarded.start("one", WAIT)

    assert not alive(first)
    assert alive(second)
    guarded.check("one")


def test_what_cannot_run_is_told(guarded: Supervisor, tmp_path: Path) -> None:
    """A file that is no program of this machine is refused with the system's word for it."""
    (tmp_path / "server").write_bytes(b"\x7fELF for another machine")
    (tmp_path / "server").chmod(0o755)

    with pytest.raises(ServerExit, match=r"one could not be started: .*Exec format error"):
        guarded.start("one", (str(tmp_path / "server"),))


def test_a_dead_guard_is_told(guarded: Supervisor) -> None:
    """A guard that was killed starts nothing more, and says so."""
    os.kill(guarded.pid, signal.SIGKILL)

    assert end_of(guarded).name == "guard"
    with pytest.raises(ServerExit, match="guard ended"):
        guarded.start("one", WAIT)


def test_a_guard_that_hangs_is_given_up(guarded: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that does not answer is waited for a bounded time, when starting and when stopping."""
    server = guarded.start("one", WAIT)
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.1)
    os.kill(guarded.pid, signal.SIGSTOP)

    with pytest.raises(ServerExit, match="did not answer within"):
        guarded.start("two", WAIT)
    guarded.stop()

    assert gone_within({guarded.pid, server})
    assert not guarded.directory.exists()


def test_a_server_that_ignores_its_end_is_killed(guarded: Supervisor) -> None:
    """A server has a few seconds to leave when asked to; then it is killed."""
    server = guarded.start("one", ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"))
    give_up_s = time.monotonic() + PATIENCE_S
    while "ready" not in (guarded.directory / "one.log").read_text() and time.monotonic() < give_up_s:
        time.sleep(0.01)
    began_s = time.monotonic()

    guarded.stop()

    assert guard.STOP_S <= time.monotonic() - began_s < module.STOP_TIMEOUT_S
    assert not alive(server)


def test_an_owner_that_does_not_listen_is_guarded_all_the_same() -> None:
    """A guard whose words nobody reads any more goes on, and ends its servers when standard input ends."""
    directory = Path(tempfile.mkdtemp(prefix="th-"))
    process = subprocess.Popen(
        [sys.executable, "-I", guard.__file__, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
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
