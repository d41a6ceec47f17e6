"""Watches a settings file and applies its policies when it changes; a file that cannot be used changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.logs import Log
from tollhouse.settings.model import Settings, differences

Outcome = Literal["unchanged", "applied", "refused"]

POLL_S: Final = 1.0
"""How often the file is checked: a check costs one system call."""
SETTLE_S: Final = 0.05
"""How long a changed file must be stable before it is read: another process may still be writing it."""
_APPLIED_LIVE: Final = "limits.policies."

_log = Log("tollhouse.settings")


class SettingsWatcher:
    """Calls `apply` with the settings whenever the content of the file changes and is valid.

    `read` returns the settings of the file or raises ConfigurationError. `apply` puts them into effect and returns the
    changes, as fields of the log event; `removed` names policies that stay in force all the same. If it raises
    ConfigurationError or InvalidInput, it has changed nothing. Invalid content is logged and counted once, not at every
    check. The first valid content counts as the settings that this process started with: if a later one differs in
    settings other than policies, a warning is logged.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], Settings],
        apply: Callable[[Settings], Mapping[str, str]],
        count: Callable[[Outcome], None],
        *,
        poll_s: float = POLL_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._path = path.absolute()
        self._read = read
        self._apply = apply
        self._count = count
        self._poll_s = poll_s
        self._sleep = sleep
        self._check_requested = asyncio.Event()
        self._stamp: tuple[int, int, int] | None = None
        self._digest: bytes | None = None
        self._initial: Settings | None = None

    async def run(self) -> None:
        """Check the file every `poll_s` seconds, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._check_requested.wait()
            self._check_requested.clear()
            await self.check()

    def check_soon(self) -> None:
        """Make `run` check now; a signal handler of the event loop may call this."""
        self._check_requested.set()

    async def check(self) -> Outcome:
        """Check once; a file that is being written is left to the next check."""
        stamp = await asyncio.to_thread(_stamp_of, self._path)
        if self._digest is not None and stamp == self._stamp:
            return "unchanged"
        await self._sleep(SETTLE_S)
        if await asyncio.to_thread(_stamp_of, self._path) != stamp:
            return "unchanged"
        self._stamp = stamp
        content = await asyncio.to_thread(_digest_of, self._path)
        if content == self._digest:
            return "unchanged"
        self._digest = content
        outcome = await self._reload()
        self._count(outcome)
        return outcome

    async def _reload(self) -> Outcome:
        try:
            settings = await asyncio.to_thread(self._read, self._path)
            changed = self._apply(settings)
        except (ConfigurationError, InvalidInput) as error:
            reason = f"{error}; the previous policies stay in force"
            _log.error("settings file refused", extra={"file": str(self._path), "reason": reason})
            return "refused"
        if any(changed.values()) or self._initial is not None:
            _log.info("settings file applied", extra={"file": str(self._path), **changed})
        if changed.get("removed"):
            extra = {"file": str(self._path), "policies": changed["removed"]}
            _log.warning("removed policies stay in force until a restart", extra=extra)
        self._warn_of_pending_changes(settings)
        return "applied"

    def _warn_of_pending_changes(self, settings: Settings) -> None:
        if self._initial is None:
            self._initial = settings
        names = [name for name in differences(self._initial, settings) if not name.startswith(_APPLIED_LIVE)]
        if names:
            extra = {"file": str(self._path), "settings": ", ".join(names)}
            _log.warning("settings change takes effect after a restart", extra=extra)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with the content of a file or its link target; None if it cannot be read.

    An atomic replace and another link target change the inode.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _digest_of(path: Path) -> bytes:
    """Return a digest of the content; b"" if it cannot be read, and then `read` raises the reason."""
    try:
        return hashlib.blake2b(path.read_bytes()).digest()
    except OSError:
        return b""
