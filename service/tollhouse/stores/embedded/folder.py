"""The data folder of an embedded server: closed to other users, and locked by the process that runs its server."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tollhouse.errors import ConfigurationError

ENDPOINT: Final = "endpoint"
"""Names the directory of the server's socket. A server wrote it, so a folder that has it is ours."""
_BESIDE_DATA: Final = "secret"
_LOCK: Final = "lock"
_OWN: Final = frozenset({ENDPOINT, _BESIDE_DATA, _LOCK, "appendonlydir"})
_OTHERS: Final = 0o077
"""Every right of the group and of other users."""


def private_folder(path: Path) -> None:
    """Make the folder if there is none, and close it to other users.

    Raises ConfigurationError if it cannot be used, or if other users may enter it and it holds more than our data: its
    mode is then not ours to change.
    """
    with _reported(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & _OTHERS:
            names = {entry.name for entry in path.iterdir()}
            if ENDPOINT not in names and not names <= _OWN:
                raise PermissionError("other users may enter it; name a folder for this alone, or `chmod 700` it")
            path.chmod(0o700)


def lock_folder(path: Path) -> IO[bytes] | None:
    """Return the lock of the folder, which lasts until it is closed; None if another process has it."""
    private_folder(path)
    with _reported(path), ExitStack() as opened:
        lock = opened.enter_context(open_private(path / _LOCK))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        opened.pop_all()
        return lock


def persistent_secret(folder: Path) -> bytes:
    """Return the secret that is stored beside the data; create it if there is none.

    Raises ConfigurationError if the folder is open to other users, or the file cannot be read, written or decoded.
    """
    private_folder(folder)
    path, fresh = folder / _BESIDE_DATA, folder / f"{_BESIDE_DATA}.{os.getpid()}"
    try:
        if not path.exists():
            with open_private(fresh) as file:
                file.write(secrets.token_hex(32).encode())
            with suppress(FileExistsError):
                os.link(fresh, path)  # atomic: another process never reads half a secret
            fresh.unlink()
        path.chmod(0o600)
        return bytes.fromhex(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError("secret", str(path), f"the stored secret cannot be used: {error}") from error


def open_private(path: Path) -> IO[bytes]:
    """Open a file to write, empty, and make it readable for its owner only, also if it was there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


@contextmanager
def _reported(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError("url", f"embedded://{path}", f"the folder cannot be used: {error}") from error
