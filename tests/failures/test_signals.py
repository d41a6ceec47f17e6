"""What signals do to `tollhouse serve`: it stops quietly at any time of its life, and a hangup does not stop it."""

from __future__ import annotations

import http.client
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.failures.test_serve import COMMAND, STARTED_S, ServiceProcess, environment, serve
from tests.processes import children_of, gone_within


class Life(NamedTuple):
    """A service that starts, in a process group of its own, as one does that a terminal starts."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def family(self) -> set[int]:
        return children_of(self.process.pid)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


def starts_a_server(life: Life) -> bool:
    return bool(life.family)


def is_announced(life: Life) -> bool:
    return "Tollhouse answers" in (life.folder / "output").read_text()


def starts_workers(life: Life) -> bool:
    return len(life.family) >= 4  # the server and its supervisor, what multiprocessing keeps, and a worker


def is_up(life: Life) -> bool:
    return "Redis cache connected" in life.log


def is_well_up(life: Life) -> bool:
    return is_up(life) and life.log.count("Redis cache connected") == life.log.count("Started server process")


#   workers, when, which signal, to the whole group as Ctrl-C does, how often
STOPS: list[tuple[int, Callable[[Life], bool], signal.Signals, bool, int]] = [
    (1, starts_a_server, signal.SIGINT, True, 1),
    (1, starts_a_server, signal.SIGTERM, False, 2),
    (1, is_announced, signal.SIGINT, True, 1),
    (1, is_announced, signal.SIGTERM, False, 1),
    (1, is_up, signal.SIGINT, True, 2),
    (2, starts_workers, signal.SIGINT, True, 1),
    (2, starts_workers, signal.SIGTERM, False, 1),
    (2, is_well_up, signal.SIGINT, True, 2),
]


def test_a_stop_is_quiet_whenever_it_comes(tmp_path: Path) -> None:
    """SIGINT and SIGTERM end `serve` with 0, an empty error log, no process and no file, whenever and however often."""
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda case: _stopped(tmp_path / str(case[0]), *case[1]), enumerate(STOPS)))

    assert found == [(0, [], True, [])] * len(STOPS)


def test_ctrl_c_before_the_command_has_begun_is_quiet(tmp_path: Path) -> None:
    """SIGINT while the commands are imported ends without a traceback, with 130."""
    module = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with it ignored
os.kill(os.getpid(), signal.SIGINT)
time.sleep(20)
"""
    (tmp_path / "click.py").write_text(module)
    done = subprocess.run(
        [*COMMAND, "serve"],
        check=False,
        env=environment(tmp_path, PYTHONPATH=str(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def _stopped(
    folder: Path,
    workers: int,
    reached: Callable[[Life], bool],
    number: signal.Signals,
    group: bool,
    times: int,
) -> tuple[int | None, list[str], bool, list[str]]:
    """Stop a service once a stage is reached; return its exit code, what it complained of, and what it left."""
    scratch = folder / "tmp"
    scratch.mkdir(parents=True)
    command = [*COMMAND, "serve", "--plain-http", "--port", "0", "--workers", str(workers)]
    variables = {"XDG_RUNTIME_DIR": str(scratch), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("wb") as log, (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment(folder, **variables),
            cwd=folder,
            stdout=output,
            stderr=log,
            start_new_session=True,
        )
    life = Life(process, folder)
    try:
        _await(lambda: reached(life), life)
        family = life.family
        for _ in range(times):
            (os.killpg if group else os.kill)(process.pid, number)
        status = process.wait(15)
    finally:
        process.kill()
        process.wait()
    ended = gone_within(family)
    left = [path.name for path in scratch.rglob("*") if path.is_file() or path.name.startswith("th-")]
    return status, [line for line in life.log.splitlines() if not _is_plain_event(line)], ended, left


def _await(condition: Callable[[], bool], life: Life) -> None:
    give_up_s = time.monotonic() + STARTED_S
    while not condition():
        assert time.monotonic() < give_up_s
        assert life.process.poll() is None, life.log
        time.sleep(0.005)


def _is_plain_event(line: str) -> bool:
    try:
        event: dict[str, Any] = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return event["level"] in ("debug", "info")


def test_a_request_that_outlives_the_grace_is_503(tmp_path: Path) -> None:
    """SIGTERM lets requests end for 3 s; one that goes on is 503 and says that it may have run, without a traceback."""
    limits = "".join(f'[limits.policies.{name}]\nlimit = "1/{name[1:]}s"\n' for name in ("p1", "p10"))
    (tmp_path / "tollhouse.toml").write_text(limits)
    with serve(tmp_path, TOLLHOUSE_URL="fake://") as served, ThreadPoolExecutor(2) as pool:
        for policy in ("p1", "p10"):
            assert _acquire(served, policy)[0] == 200
        ending, lasting = (pool.submit(_acquire, served, policy) for policy in ("p1", "p10"))
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        answers = [ending.result(), lasting.result()]
        assert served.process.wait(10) == 0

    assert [status for status, _ in answers] == [200, 503]
    assert (answers[1][1]["status"], answers[1][1]["outcome"]) == (503, "ambiguous")
    assert "Traceback" not in (tmp_path / "log").read_text()


def _acquire(served: ServiceProcess, policy: str) -> tuple[int, dict[str, Any]]:
    """Take one unit, waiting for it for up to 20 s; return the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        body = msgspec.json.encode({"policy": policy, "key": "ada", "wait_ms": 20_000})
        headers = {"X-Api-Key": served.kept["admin_key"][0], "Content-Type": "application/json"}
        connection.request("POST", "/v1/limits/acquire", body, headers)
        response = connection.getresponse()
        return response.status, msgspec.json.decode(response.read())
    finally:
        connection.close()


IGNORED = "SIGHUP ignored: there is no settings file"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_without_a_file_is_ignored(tmp_path: Path, workers: str) -> None:
    """SIGHUP to a service that follows no file ends and restarts no process; every worker says why in its log."""
    with serve(tmp_path, "--workers", workers, TOLLHOUSE_URL="fake://" if workers == "1" else "embedded://") as served:
        family = children_of(served.process.pid)
        served.process.send_signal(signal.SIGHUP)

        give_up_s = time.monotonic() + STARTED_S
        while (tmp_path / "log").read_text().count(IGNORED) < int(workers):
            assert time.monotonic() < give_up_s
            time.sleep(0.02)

        assert served.get("/readyz")[0] == 200
        assert children_of(served.process.pid) == family


def test_ctrl_c_is_left_to_the_process_that_starts_workers(tmp_path: Path) -> None:
    """SIGINT to a worker, which a terminal sends to all of its group, neither stops nor hurries it."""
    with serve(tmp_path, "--workers", "2") as served:
        family = children_of(served.process.pid)
        workers = [pid for pid in family if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for _ in range(2):
            for pid in workers:
                os.kill(pid, signal.SIGINT)

        time.sleep(1)
        assert len(workers) == 2
        assert children_of(served.process.pid) == family
        assert "Shutting down" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_terminal_that_closes_ends_the_service(tmp_path: Path, workers: str) -> None:
    """SIGHUP from a terminal that is gone stops `serve` as SIGTERM does; from one that is there it is no end."""
    master, terminal = pty.openpty()
    with serve(tmp_path, "--workers", workers, stdin=terminal) as served:
        os.close(terminal)
        served.process.send_signal(signal.SIGHUP)
        assert served.get("/readyz")[0] == 200
        family = children_of(served.process.pid)

        os.close(master)
        served.process.send_signal(signal.SIGHUP)

        assert served.process.wait(10) == 0
        assert gone_within(family)
        assert not served.key_file.exists()
