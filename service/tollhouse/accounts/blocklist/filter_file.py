"""Password filters on disk: mapped into memory, so that all processes share one copy and only used pages are read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from tollhouse.accounts.blocklist.filter_format import PAGE_BYTES, FilterHead, bits_of, decode_head, digest_of
from tollhouse.errors import ConfigurationError
from tollhouse.logs import Log

_log: Final = Log("tollhouse.accounts")
_REMEDY: Final = "; build it with `tollhouse accounts passwords build`"

Stamp = tuple[int, int, int]


class PasswordFilter:
    """A filter whose file is open; a file that takes its place is not noticed."""

    def __init__(self, path: Path, setting: str) -> None:
        try:
            with path.open("rb") as file:
                self.stamp = _stamp(os.fstat(file.fileno()))
                head = decode_head(file.read(PAGE_BYTES))
                if isinstance(head, FilterHead) and self.stamp[2] != head.file_bytes:
                    head = f"it has {self.stamp[2]:,} bytes of {head.file_bytes:,}"
                if isinstance(head, str):
                    raise ConfigurationError(setting, str(path), head + _REMEDY)
                self.head = head
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ConfigurationError(setting, str(path), f"{error.strerror}{_REMEDY}") from error

    def has(self, password: str) -> bool:
        """Return True if the password is in the list, or is one of the few that look as if they were."""
        return all(self._bytes[at] & bit for at, bit in bits_of(digest_of(password), self.head))


class ReplaceableFilter:
    """The filter of a path: a file that takes the place of the first is used from the next look-up on.

    A new file that cannot be used is logged once, and the one before stays in use.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self._path = path
        self._setting = setting
        self._filter = PasswordFilter(path, setting)
        self._seen: Stamp | None = self._filter.stamp

    def has(self, password: str) -> bool:
        """Return True if the password is in the list, as `PasswordFilter.has`."""
        return self._filter.has(password)

    def refresh(self) -> None:
        """Open the file if another one has taken its place."""
        stamp = _stamp_of(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._filter = PasswordFilter(self._path, self._setting)
        except ConfigurationError as error:
            _log.warning("password filter cannot be used", extra={"reason": str(error)})
            return
        self._seen = self._filter.stamp


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _stamp_of(path: Path) -> Stamp | None:
    try:
        return _stamp(path.stat())
    except OSError:
        return None
