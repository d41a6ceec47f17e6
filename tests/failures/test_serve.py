"""`tollhouse serve` as a process: what it refuses, how it stops, and that no process or file remains."""

from __future__ import annotations

import base64
import http.client
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.processes import alive, children_of, gone_within

ROOT = Path(__file__).parents[2]
STARTED_S = 20.0
COMMAND = [sys.executable, "-m", "tollhouse"]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a user who has set nothing but `variables`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TOLLHOUSE_", "REDIS_", "CACHE_"))
    }
    return {**kept, "XDG_RUNTIME_DIR": str(folder), **variables}


class ServiceProcess:
    """A running `tollhouse serve`."""

    def __init__(self, process: subprocess.Popen[bytes], started: dict[str, Any]) -> None:
        self.process = process
        self.address: str = started["address"]
        self.port = int(self.address.rpartition(":")[2])
        self.kept = msgspec.json.decode(Path(started["admin_key_file"]).read_bytes())
        self.key_file = Path(started["admin_key_file"])

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"X-Api-Key": self.kept["admin_key"][0]})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def take(self, key: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            body = msgspec.json.encode({"policy": "hundred", "key": key})
            headers = {"X-Api-Key": self.kept["admin_key"][0], "Content-Type": "application/json"}
            connection.request("POST", "/v1/limits/take", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def await_ready(self) -> None:
        give_up_s = time.monotonic() + 20
        while True:
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                if time.monotonic() > give_up_s:
                    raise
            time.sleep(0.02)

    def port_is_free(self) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return False
            return True


@contextmanager
def serve(folder: Path, *args: str, stdin: int | None = None, **variables: str) -> Generator[ServiceProcess]:
    command = [*COMMAND, "serve", "--json", "--plain-http", "--port", "0", *args]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment(folder, **variables), cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        served = ServiceProcess(process, msgspec.json.decode(line))
        served.await_ready()
        yield served
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_service_leaves_nothing(tmp_path: Path, workers: str) -> None:
    """After kill -9 of `serve` none of its processes and folders remains within 5 s, and its port is free."""
    scratch = Path(tempfile.mkdtemp(prefix="th-"))
    with serve(tmp_path, "--workers", workers, TMPDIR=str(scratch)) as served:
        assert list(scratch.iterdir())
        family = children_of(served.process.pid)
        assert len(family) >= 2 + (2 if workers == "2" else 0)

        served.process.kill()

        assert gone_within(family)
        assert served.port_is_free()
    assert list(scratch.iterdir()) == []
    scratch.rmdir()


def _a_child_exists(family: set[int], log: str) -> bool:
    return bool(family)


def _both_workers_exist(family: set[int], log: str) -> bool:
    return len(family) >= 3  # with the process that multiprocessing keeps for them


def _a_worker_starts(family: set[int], log: str) -> bool:
    return "Started server process" in log


@pytest.mark.parametrize("command", [(), ("serve",), ("check",)], ids=lambda command: " ".join(command) or "tollhouse")
def test_the_help_says_how_to_name_a_server(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A first question of a new operator is answered by the command itself."""
    done = subprocess.run(
        [*COMMAND, *command, "--help"],
        check=True,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "TOLLHOUSE_URL" in done.stdout


def test_a_service_that_is_killed_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    """After kill -9 at any stage of its start, nothing of `serve --workers 2` remains, and its port is free."""
    with ThreadPoolExecutor(3) as pool:
        stages = (_a_child_exists, _both_workers_exist, _a_worker_starts)
        left = list(pool.map(lambda stage: _left_by_a_kill(tmp_path / stage.__name__, stage), stages))

    assert left == [(set(), True)] * 3


def _left_by_a_kill(folder: Path, reached: Callable[[set[int], str], bool]) -> tuple[set[int], bool]:
    """Kill a service as soon as a stage is reached; return its processes that live on, and whether its port is free."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*COMMAND, "serve", "--json", "--plain-http", "--port", str(port), "--workers", "2"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(folder), cwd=folder, stdout=log, stderr=log)
    give_up_s = time.monotonic() + STARTED_S
    family: set[int] = set()
    while not reached(family, (folder / "log").read_text()):
        assert time.monotonic() < give_up_s
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.005)
        family = children_of(process.pid)
    process.kill()
    process.wait()
    gone_within(family, STARTED_S)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return {pid for pid in family if alive(pid)}, probe.connect_ex(("127.0.0.1", port)) != 0


SECRET = "a-secret-of-thirty-two-characters"


def test_no_secret_is_in_an_environment_or_a_command_line(tmp_path: Path) -> None:
    """No process that `serve` starts has a secret in its environment or command line, not even one that it restarts."""
    with serve(tmp_path, "--workers", "2", TOLLHOUSE_SECRET=SECRET) as served:
        first = children_of(served.process.pid)
        worker = next(pid for pid in first if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        give_up_s = time.monotonic() + STARTED_S
        while not (later := children_of(served.process.pid) - first) and time.monotonic() < give_up_s:
            time.sleep(0.05)
        served.await_ready()
        secrets = [SECRET, *served.kept["admin_key"]]
        shown = {pid: _shown_by(pid) for pid in first - {worker} | later}

    assert later
    assert [pid for pid, content in shown.items() for secret in secrets if secret.encode() in content] == []


def _shown_by(pid: int) -> bytes:
    """Return the command line and the environment of a process, and what values there are in base64."""
    content = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    coded = re.findall(rb"=([0-9A-Za-z+/]+={0,2})\0", content)
    return content + b"".join(base64.b64decode(value) for value in coded if len(value) % 4 == 0)


def test_a_worker_that_begins_after_its_parent_has_ended_ends() -> None:
    """A worker that is still starting when `serve` is killed does not stay behind."""
    command = [sys.executable, "-m", "tests.failures.orphan"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        worker = int(started.stdout.readline())

        gone = gone_within({worker}, STARTED_S)
        if not gone:
            os.kill(worker, signal.SIGKILL)

    assert gone


def test_stores_in_memory_get_an_admin_key_too(tmp_path: Path) -> None:
    """`serve` generates a key for every service whose data end with it, also on `fake://`."""
    with serve(tmp_path, TOLLHOUSE_URL="fake://") as served:
        assert served.kept["admin_key"]


DECIDED = [
    f'tollhouse_ratelimit_decisions_total{{outcome="{outcome}",policy="hundred"}} 100.0'
    for outcome in ("allowed", "refused")
]


def test_two_workers_share_limits_and_metrics(tmp_path: Path) -> None:
    """200 concurrent takes on a limit of 100 over two worker processes admit exactly 100, and /metrics adds them up."""
    (tmp_path / "tollhouse.toml").write_text('[limits.policies.hundred]\nlimit = "100/hour"\n')
    with serve(tmp_path, "--workers", "2") as served, ThreadPoolExecutor(40) as pool:
        statuses = list(pool.map(served.take, ["same"] * 200))
        give_up_s = time.monotonic() + 10
        metrics = served.get("/metrics")[1].decode()
        while (
            not all(line in metrics for line in DECIDED) and time.monotonic() < give_up_s
        ):  # the other worker tells within FLUSH_S
            metrics = served.get("/metrics")[1].decode()

    assert sorted(statuses) == [200] * 100 + [429] * 100
    assert [line for line in DECIDED if line not in metrics] == []
    assert 'tollhouse_store_up{store="limits"} 1.0' in metrics


def test_the_key_is_made_and_kept_from_others(tmp_path: Path) -> None:
    """Without keys `serve` generates one, prints the path of the 0600 file with it, and does not log it."""
    with serve(tmp_path) as served:
        key = served.kept["admin_key"][0]

        assert stat.S_IMODE(served.key_file.stat().st_mode) == 0o600
        assert served.get("/v1/cache/stats")[0] == 200
        assert key not in (tmp_path / "log").read_text()


def test_other_commands_find_the_running_service(tmp_path: Path) -> None:
    """`tollhouse check` without a URL checks the stores of the running service, and tells its namespace."""
    with serve(tmp_path, TOLLHOUSE_NAMESPACE="shop") as served:
        done = subprocess.run(
            [*COMMAND, "check", "--json"], check=False, env=environment(tmp_path), cwd=tmp_path, capture_output=True
        )

    checked = msgspec.json.decode(done.stdout)
    assert done.returncode == 0
    assert checked["ok"] is True
    assert checked["namespace"] == "shop"
    assert [store["place"] for store in checked["stores"]] == list(served.kept["urls"].values())
    assert all(store["server"].startswith("valkey 9") for store in checked["stores"])


def test_a_head_above_its_bound_is_431(tmp_path: Path) -> None:
    """A request head above head_bytes is 431 problem details, whether it ends or not; a trailer counts too."""
    filler = b"X-Filler: " + b"a" * 1000 + b"\r\n"
    whole = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + filler * 20 + b"\r\n"
    endless = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Endless: " + b"a" * 20_000
    long_path = b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    trailer = b"POST /v1/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + filler * 20 + b"\r\n"
    with serve(tmp_path) as served:
        answers = [_raw(served.port, request) for request in (whole, endless, long_path, trailer)]
        in_pieces = _raw(served.port, endless[:9_000], endless[9_000:])
        broken = _raw(served.port, b"GET /livez\x00HTTP\r\n\r\n")
        fine = _raw(served.port, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + filler * 10 + b"\r\n")

    for answer in [*answers, in_pieces]:
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"urn:tollhouse:problem:head-too-large" in answer
    assert broken.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in broken
    assert fine.startswith(b"HTTP/1.1 200 ")


def test_it_says_that_it_lives_when_descriptors_run_out(tmp_path: Path) -> None:
    """With more silent connections than a process may open, `/livez` answers 200 and everything else 503."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            served = opened.enter_context(serve(tmp_path, TOLLHOUSE_URL="fake://"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(400):
            opened.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))

        assert _status_within(served, "/livez", 200)
        assert _status_within(served, "/readyz", 503)


def _status_within(served: ServiceProcess, path: str, status: int, seconds: float = 5) -> bool:
    """Return True as soon as a path answers with a status; the reserve for such questions may be taken for a second."""
    give_up_s = time.monotonic() + seconds
    while time.monotonic() < give_up_s:
        with suppress(OSError, http.client.HTTPException):
            if served.get(path)[0] == status:
                return True
        time.sleep(0.1)
    return False


def _raw(port: int, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05 if len(pieces) > 1 else 0)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            if b"\r\n\r\n" in received and b"}" in received:
                break
        return received


#   arguments, variables, words of the one sentence
WRONG: list[tuple[list[str], dict[str, str], list[str]]] = [
    ([], {"TOLLHOUSE_URL": "http://h"}, ["TOLLHOUSE_URL", "'http'", "redis"]),
    ([], {"TOLLHOUSE_CACHE_URL": "redis://h/x"}, ["TOLLHOUSE_CACHE_URL", "'x'"]),
    ([], {"TOLLHOUSE_URL": "redis+cluster://h"}, ["TOLLHOUSE_URL", "redis+cluster://"]),
    ([], {"TOLLHOUSE_URL": "redis://127.0.0.1:1"}, ["TOLLHOUSE_SECRET:", "32"]),
    ([], {"TOLLHOUSE_SECRET": "short"}, ["TOLLHOUSE_SECRET:", "32"]),
    ([], {"TOLLHOUSE_SECRET_FILE": "/nowhere/secret"}, ["TOLLHOUSE_SECRET_FILE", "/nowhere/secret"]),
    ([], {"TOLLHOUSE_LIMITS_POLICIES_API_LIMIT": "5/mn"}, ["TOLLHOUSE_LIMITS_POLICIES_API_LIMIT", "5/mn", "5/m"]),
    ([], {"TOLLHOUSE_PROT": "1"}, ["TOLLHOUSE_PROT:", "TOLLHOUSE_PORT"]),
    (
        [],
        {"TOLLHOUSE_AI_MODELS_M_CALL": "no_such_module:answer", "TOLLHOUSE_AI_MODELS_M_VERSION": "1"},
        ["ai.models.m.call", "no_such_module", "install"],
    ),
    ([], {"TOLLHOUSE_AI_MODELS_M_CALL": "tests.answers:echo"}, ["ai.models.m.version", "TOLLHOUSE_AI_MODELS_M_CALL"]),
    (["--host", "0.0.0.0"], {}, ["TOLLHOUSE_ADMIN_KEY", "0.0.0.0"]),
    (["--host", "0.0.0.0", "--plain-http"], {}, ["plain_http", "0.0.0.0"]),
    (["--host", "no.such.host.invalid"], {}, ["no.such.host.invalid"]),
    (["--workers", "0"], {}, ["workers"]),
    (["--config", "missing.toml"], {}, ["missing.toml"]),
    ([], {"TOLLHOUSE_EMBEDDED_BINARY": "/nowhere/valkey"}, ["/nowhere/valkey"]),
]


@pytest.mark.parametrize(("args", "variables", "words"), WRONG)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    tmp_path: Path, args: list[str], variables: dict[str, str], words: list[str]
) -> None:
    """A setting that cannot be used ends `serve` with one line that names it and the remedy, and exit code 2."""
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0", *args],
        check=False,
        env=environment(tmp_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_a_server_that_refuses_ends_serve(valkey_socket: Path, tmp_path: Path) -> None:
    """A wrong password ends `serve` before it listens, with the server, its word and the remedy, and exit code 2."""
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0"],
        check=False,
        env=environment(tmp_path, TOLLHOUSE_URL=f"unix://ada:sesame@{valkey_socket}", TOLLHOUSE_SECRET="s" * 32),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    for words in (f"unix://{valkey_socket}", "WRONGPASS", "set the server's user and password in the URL"):
        assert words in line
    assert "sesame" not in line


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """If another program listens on the port, `serve` exits with 2 and one line that names the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "serve", "--port", port],
            check=False,
            env=environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    assert done.returncode == 2
    remedy = f"another program listens on 127.0.0.1:{port}; stop it, or choose another port"
    assert done.stderr.startswith(f"tollhouse: port: {port}: {remedy}")
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_is_down_fails_the_check(tmp_path: Path) -> None:
    """`tollhouse check` exits with 1 if a store does not answer, and prints which and why, without the password."""
    url = "redis://ada:sesame@127.0.0.1:1"
    done = subprocess.run(
        [*COMMAND, "check"],
        check=False,
        env=environment(tmp_path, TOLLHOUSE_URL=url),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "redis://127.0.0.1:1: cannot connect" in " ".join(done.stdout.split())
    assert "sessions, limits, cache, accounts: " in done.stdout
    assert (done.stdout.count("cannot connect"), done.stderr) == (1, "")
    assert "no secret is set" in done.stdout
    assert "sesame" not in done.stdout
