"""Runs `tollhouse serve` against the servers of a drill, with a port and keys of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings

WORKERS: Final = 2
_READY_S: Final = 20.0
_STOP_S: Final = 10.0
_FOREIGN: Final = ("TOLLHOUSE_", "REDIS_", "CACHE_")


class Service(Struct, frozen=True, kw_only=True):
    """A running service, and the key with which it is called."""

    host: str
    port: int
    key: str


class _Started(Struct, frozen=True, kw_only=True):
    address: str


@asynccontextmanager
async def served(settings: Settings) -> AsyncGenerator[Service]:
    """Start the service and its workers; stop them in the end. Its log is told where it did not start."""
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="th-") as folder:
        log = Path(folder) / "log"
        process = await _started(settings, key, folder, log)
        try:
            assert process.stdout is not None
            try:
                async with asyncio.timeout(_READY_S):
                    line = await process.stdout.readline()
                started = msgspec.json.decode(line, type=_Started)
            except (TimeoutError, msgspec.DecodeError) as error:
                said = log.read_text(errors="replace").strip()[-500:]
                raise ConfigurationError("--via", "http", f"the service did not start: {said}") from error
            host, _, port = started.address.removeprefix("http://").rpartition(":")
            yield Service(host=host, port=int(port), key=key)
        finally:
            await _stopped(process)


async def _started(settings: Settings, key: str, folder: str, log: Path) -> asyncio.subprocess.Process:
    """Hand over the settings by environment, where no other user can read the secret."""
    chosen = settings.limits.policies
    (Path(folder) / "tollhouse.toml").write_text(
        "".join(f'[limits.policies.{name}]\nlimit = "{policy.limit}"\n' for name, policy in chosen.items())
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    own = {
        "TOLLHOUSE_URL": settings.url,
        "TOLLHOUSE_SECRET": settings.secret[0].decode("ascii"),
        "TOLLHOUSE_DEADLINE_MS": str(settings.deadline_ms),
        "TOLLHOUSE_SERVICE_KEY": key,
        "XDG_RUNTIME_DIR": folder,
    }
    options = ("--json", "--plain-http", "--port", "0", "--workers", str(WORKERS))
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tollhouse", "serve", *options),
            cwd=folder,
            env={**kept, **own},
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
        )


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
