"""Put the servers that are packages into folders of their own: python -m tests.servers.install [NAME...].

What cannot be installed is said, and its tests skip: not every package is there for every machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from tests.servers.catalog import FOLDER, SERVERS, Server, find

_INSTALL_S: Final = 180.0


def install(server: Server) -> str:
    """Install a server unless it is there; return what went wrong, if anything did."""
    if not server.package or find(server)[0] is not None:
        return ""
    folder = FOLDER / server.name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        done = subprocess.run(
            [*_installer(), "--quiet", "--no-deps", "--target", folder, server.package],
            check=False,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_INSTALL_S,
        )
    except subprocess.TimeoutExpired as error:
        return f"{server.package}: {error}"
    return "" if done.returncode == 0 else f"{server.package}: {done.stderr.strip()}"


def _installer() -> Sequence[str]:
    """Return the command that installs packages; environments that uv makes have no pip."""
    uv = shutil.which("uv")
    return (
        [sys.executable, "-m", "pip", "install"] if uv is None else [uv, "pip", "install", "--python", sys.executable]
    )


def main(names: Sequence[str]) -> None:
    """Install the servers of these names, or all."""
    for server in SERVERS:
        if not names or server.name in names or "all" in names:
            problem = install(server)
            if problem:
                print(f"not installed: {problem}", file=sys.stderr)  # noqa: T201 - it is a command


if __name__ == "__main__":
    main(sys.argv[1:])
