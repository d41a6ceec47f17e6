"""A socket that systemd has opened: `tollhouse serve` takes it over instead of binding one."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from tests.failures.test_serve import COMMAND, environment

PASS = """
import os, sys
_, passed, number, *command = sys.argv
os.dup2(int(passed), 3)
os.environ.update(LISTEN_FDS=number, LISTEN_PID=str(os.getpid()))
os.execv(command[0], command)
"""
"""Passes a descriptor as systemd does: as number 3, with variables that name the process."""
SECRETS = {
    "TOLLHOUSE_ADMIN_KEY": "an-admin-key-of-the-operator",
    "TOLLHOUSE_SECRET": "a-secret-of-thirty-two-characters",
}
WRONG_KEYS = 24
"""With two workers one gets twelve of them, which are two too many."""


class HasFileno(Protocol):
    """A socket or a file."""

    def fileno(self) -> int: ...


def command(passed: HasFileno, *args: str, number: str = "1") -> list[str]:
    return [sys.executable, "-c", PASS, str(passed.fileno()), number, *COMMAND, "serve", *args]


@contextmanager
def serving(passed: socket.socket, folder: Path, *args: str) -> Generator[str]:
    """Start a service on a socket of ours; give the address that it announces."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(passed, "--json", *args),
            env=environment(folder, TOLLHOUSE_URL="fake://", **SECRETS),
            cwd=folder,
            pass_fds=[passed.fileno()],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        yield msgspec.json.decode(line)["address"]
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


def answer(listening: socket.socket, path: str, *fields: str) -> bytes:
    with socket.socket(listening.family) as client:
        client.settimeout(20)
        client.connect(listening.getsockname())
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *fields]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received


def guess(listening: socket.socket, number: int, client: str) -> bytes:
    """Send a wrong key, as a proxy that names its client."""
    return answer(listening, "/v1/limits", f"X-Api-Key: a-wrong-key-{number:04}", f"X-Forwarded-For: {client}")


def test_a_passed_unix_socket_is_served(tmp_path: Path) -> None:
    """On a passed unix socket every worker answers, also a client that came first, and a trusted proxy names others."""
    with tempfile.TemporaryDirectory(prefix="th-") as short, socket.socket(socket.AF_UNIX) as listening:
        path = f"{short}/s"
        listening.bind(path)
        listening.listen()
        (tmp_path / "tollhouse.toml").write_text('trusted_proxies = ["loopback"]\n')
        with serving(listening, tmp_path, "--workers", "2") as address:
            answers = [answer(listening, "/readyz") for _ in range(6)]
            guesses = [guess(listening, number, "203.0.113.9") for number in range(WRONG_KEYS)]
            other = guess(listening, WRONG_KEYS, "203.0.113.10")
        assert Path(path).is_socket()

    assert address == f"unix:{path}"
    assert {one.split(b"\r\n")[0] for one in answers} == {b"HTTP/1.1 200 OK"}
    assert any(one.startswith(b"HTTP/1.1 429 ") for one in guesses)
    assert other.startswith(b"HTTP/1.1 401 ")


def test_a_passed_port_is_served(tmp_path: Path) -> None:
    """On a passed TCP socket the address is that of the socket, whatever host and port the settings name."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with serving(listening, tmp_path, "--host", "localhost", "--port", "1") as address:
            answered = answer(listening, "/livez")

    assert address == f"http://127.0.0.1:{port}"
    assert answered.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("kind", "number", "args", "words"),
    [
        (socket.SOCK_STREAM, "2", [], ["LISTEN_FDS", "2", "ListenStream="]),
        (socket.SOCK_DGRAM, "1", [], ["LISTEN_FDS", "ListenStream="]),
        (socket.SOCK_STREAM, "1", ["--plain-http"], ["plain_http", "0.0.0.0"]),
    ],
)
def test_a_passed_socket_that_cannot_be_served_is_refused(
    tmp_path: Path, kind: socket.SocketKind, number: str, args: list[str], words: list[str]
) -> None:
    """Several sockets, one that is no stream, and cookies without Secure on one that others reach, end it with 2."""
    with socket.socket(socket.AF_INET, kind) as passed:
        passed.bind(("0.0.0.0", 0))

        assert_refused(tmp_path, passed, *args, number=number, words=words)


def test_a_connection_is_no_socket_to_serve(tmp_path: Path) -> None:
    """A unit with Accept=yes starts one service for each connection: that ends it with 2 as well."""
    ours, passed = socket.socketpair()
    with ours, passed:
        assert_refused(tmp_path, passed, words=["LISTEN_FDS", "Accept=no"])


def test_a_file_is_no_socket_to_serve(tmp_path: Path) -> None:
    """Variables of systemd in the environment of a process that got no socket end it with 2, not with a traceback."""
    with (tmp_path / "file").open("w") as passed:
        assert_refused(tmp_path, passed, words=["LISTEN_FDS", "no socket"])


def assert_refused(folder: Path, passed: HasFileno, *args: str, words: list[str], number: str = "1") -> None:
    """Serve what is passed, and see it end with exit code 2 and one line that has these words."""
    done = subprocess.run(
        command(passed, *args, number=number),
        check=False,
        env=environment(folder, TOLLHOUSE_URL="fake://", **SECRETS),
        cwd=folder,
        pass_fds=[passed.fileno()],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
