"""Questions of commands, on a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tollhouse
from tests.failures.test_serve import COMMAND, environment
from tests.worlds import embedded_world
from tollhouse.keyring import Keyring
from tollhouse.sessions import tokens

PATIENCE_S = 30
SECRET = "a-secret-for-the-tests-of-prompts"

#   what is typed, None for an interrupt; exit code; values that are left
ANSWERS = [(b"y\n", 0, 0), (b"n\n", 1, 2), (b"\n", 1, 2), (None, 1, 2)]


async def count(url: str, values: int = 0) -> int:
    """Store some values in the cache of an application; return how many there are."""
    async with tollhouse.open(url) as th:
        for number in range(values):
            await th.cache.set(f"image:{number}", number)
        return (await th.cache.stats()).stats.total_keys


async def empty(socket: Path) -> None:
    async with embedded_world(socket):
        pass


def answered(process: subprocess.Popen[bytes], terminal: int, typed: bytes | None) -> str:
    """Answer the first question of a process; return all that it printed.

    An interrupt is sent when the process waits: one that comes just before is noticed after the wait only.
    """
    printed, is_answered = b"", False
    while (more := read(terminal)) is not None:
        printed += more
        if b"[y/N]" not in printed:
            continue
        if typed is not None and not is_answered:
            is_answered = True
            os.write(terminal, typed)
        elif typed is None and not more and b"Aborted" not in printed:
            process.send_signal(signal.SIGINT)
    return printed.decode()


def read(terminal: int) -> bytes | None:
    """Return what a process prints within a moment; None after its end, which Linux reports as an error."""
    readable, _, _ = select.select([terminal], [], [], 0.2)
    try:
        return os.read(terminal, 4096) if readable else b""
    except OSError:
        return None


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Set the usual reaction to an interrupt, which processes inherit: a shell switches it off in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("typed", "code", "left"), ANSWERS)
def test_everything_is_removed_after_a_yes(
    valkey_socket: Path, tmp_path: Path, typed: bytes | None, code: int, left: int
) -> None:
    """S4-41: `cache clear --all` asks on a terminal, with the number and the store; no, or an interrupt, keeps all."""
    url = f"unix://{valkey_socket}"
    asyncio.run(empty(valkey_socket))
    asyncio.run(count(url, values=2))
    terminal, other = pty.openpty()

    with subprocess.Popen(
        [*COMMAND, "cache", "clear", "--all"],
        env=environment(tmp_path, TOLLHOUSE_URL=url, COLUMNS="200"),
        cwd=tmp_path,
        stdin=other,
        stdout=other,
        stderr=other,
    ) as process:
        os.close(other)
        too_late = threading.Timer(PATIENCE_S, process.kill)
        too_late.start()
        printed = answered(process, terminal, typed)
        too_late.cancel()
    os.close(terminal)

    assert process.returncode == code
    assert "Remove all 2 values of unix://" in printed
    assert printed.count("warning: no secret is set") == 1
    assert asyncio.run(count(url)) == left


def test_a_token_that_is_typed_is_not_shown(tmp_path: Path) -> None:
    """`sessions why` asks for the token on a terminal and does not show it; of this one nothing is known."""
    token = tokens.issue(Keyring(secrets=(SECRET.encode(),)), "0" * 32)
    terminal, other = pty.openpty()

    with subprocess.Popen(
        [*COMMAND, "sessions", "why"],
        env=environment(tmp_path, TOLLHOUSE_URL="fake://prompts", TOLLHOUSE_SECRET=SECRET),
        cwd=tmp_path,
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
    ) as process:
        os.close(other)
        too_late = threading.Timer(PATIENCE_S, process.kill)
        too_late.start()
        printed, typed = b"", False
        while (more := read(terminal)) is not None:
            printed += more
            if b"Token" in printed and not more and not typed:
                typed = True
                os.write(terminal, f"{token.reveal()}\n".encode())
        too_late.cancel()
    os.close(terminal)

    assert process.returncode == 1
    assert f"nothing is known of session {token.sid}" in printed.decode()
    assert token.secret not in printed.decode()
