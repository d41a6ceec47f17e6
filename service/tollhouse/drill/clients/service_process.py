"""Runs `tollhouse serve` as a process of its own, with its own port, key and settings only."""

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

_READY_S: Final = 20.0
_STOP_S: Final = 10.0
_FOREIGN: Final = ("TOLLHOUSE_", "REDIS_", "CACHE_")


class ServiceProcess(Struct, frozen=True, kw_only=True):
    """The address of a running service, and its service key."""

    address: str
    key: str


class _StartMessage(Struct, frozen=True, kw_only=True):
    address: str


@asynccontextmanager
async def run_service(settings: Settings, *, workers: int = 1) -> AsyncGenerator[ServiceProcess]:
    """Start a service with URL, namespace, secret, deadline and policies of `settings`; stop it after the block.

    Raises ConfigurationError with the end of its log if it does not start.
    """
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="th-") as folder:
        log = Path(folder) / "log"
        process = await _start(settings, workers, key, folder, log)
        try:
            assert process.stdout is not None
            try:
                async with asyncio.timeout(_READY_S):
                    message = msgspec.json.decode(await process.stdout.readline(), type=_StartMessage)
            except (TimeoutError, msgspec.DecodeError) as error:
                tail = log.read_text(errors="replace").strip()[-500:]
                raise ConfigurationError("drill", "tollhouse serve", f"the service did not start: {tail}") from error
            yield ServiceProcess(address=message.address, key=key)
        finally:
            await _stop(process)


async def _start(settings: Settings, workers: int, key: str, folder: str, log: Path) -> asyncio.subprocess.Process:
    """Start the process; the secret is passed by environment, which no other user can read."""
    policies = settings.limits.policies.items()
    (Path(folder) / "tollhouse.toml").write_text(
        "".join(f'[limits.policies.{name}]\nlimit = "{policy.limit}"\n' for name, policy in policies)
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    own = {
        "TOLLHOUSE_URL": settings.url,
        "TOLLHOUSE_NAMESPACE": settings.namespace,
        "TOLLHOUSE_SECRET": settings.secret[0].decode("ascii"),
        "TOLLHOUSE_DEADLINE_MS": str(settings.deadline_ms),
        "TOLLHOUSE_MAX_UNREPLICATED_MS": str(settings.max_unreplicated_ms or ""),
        "TOLLHOUSE_SERVICE_KEY": key,
        "XDG_RUNTIME_DIR": folder,
    }
    options = ("--json", "--plain-http", "--port", "0", "--workers", str(workers))
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
