"""Runs `tollhouse serve` against the servers of a drill, with its own port and keys."""

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


class ServiceProcess(Struct, frozen=True, kw_only=True):
    """The address of a running service, and its service key."""

    host: str
    port: int
    key: str


class _StartMessage(Struct, frozen=True, kw_only=True):
    address: str


@asynccontextmanager
async def run_service(settings: Settings) -> AsyncGenerator[ServiceProcess]:
    """Start the service and its workers, and stop them at the end of the block.

    Raises ConfigurationError with the end of its log if it does not start.
    """
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="th-") as folder:
        log = Path(folder) / "log"
        process = await _start(settings, key, folder, log)
        try:
            assert process.stdout is not None
            try:
                async with asyncio.timeout(_READY_S):
                    line = await process.stdout.readline()
                message = msgspec.json.decode(line, type=_StartMessage)
            except (TimeoutError, msgspec.DecodeError) as error:
                tail = log.read_text(errors="replace").strip()[-500:]
                raise ConfigurationError("--via", "http", f"the service did not start: {tail}") from error
            host, _, port = message.address.removeprefix("http://").rpartition(":")
            yield ServiceProcess(host=host, port=int(port), key=key)
        finally:
            await _stop(process)


async def _start(settings: Settings, key: str, folder: str, log: Path) -> asyncio.subprocess.Process:
    """Start the process; the secret is passed by environment, which no other user can read."""
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


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
