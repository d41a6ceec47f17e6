"""The run-time file: how other commands find the service that `tollhouse serve` runs for the same user."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings, load, settings_file

_FILE: Final = "serve.json"


class ServiceInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A running service: where it listens, where its stores are, the keys that were made for it, and its file."""

    pid: int
    address: str
    urls: dict[str, str]
    secret: tuple[bytes, ...]
    admin_key: tuple[str, ...]
    file: str | None = None

    def __repr__(self) -> str:
        return f"Running(pid={self.pid}, address={self.address!r})"


def write(running: ServiceInfo) -> Path:
    """Write the file, readable by its owner alone; the last service that starts is the one that is found."""
    path = _folder() / _FILE
    fresh = path.with_suffix(f".{running.pid}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(running))
    fresh.replace(path)
    return path


def remove(running: ServiceInfo) -> None:
    """Remove the file, unless another service has taken its place."""
    if read() == running:
        with contextlib.suppress(FileNotFoundError):
            (_folder() / _FILE).unlink()


def read() -> ServiceInfo | None:
    """Give the running service of this user; None where none runs."""
    try:
        running = msgspec.json.decode((_folder() / _FILE).read_bytes(), type=ServiceInfo)
        os.kill(running.pid, 0)
    except (FileNotFoundError, ProcessLookupError, msgspec.DecodeError):
        return None
    return running


def point_at_running_service(settings: Settings) -> Settings:
    """Point settings that name no server at the stores of the running service, if one runs."""
    running = read() if settings.url == "embedded://" else None
    return settings if running is None else _pointed_at(running, settings)


def load_for_running_service(environ: Mapping[str, str], path: Path | None) -> Settings:
    """Load settings and join the running service, with its settings file where none is named or found here."""
    settings = load(environ, path)
    running = read() if settings.url == "embedded://" else None
    if running is None:
        return settings
    if running.file is not None and settings_file(environ, path) is None:
        settings = load(environ, Path(running.file))
    return _pointed_at(running, settings)


def _pointed_at(running: ServiceInfo, settings: Settings) -> Settings:
    urls = {f"{name}_url": url for name, url in running.urls.items()}
    return replace(settings, secret=running.secret, admin_key=running.admin_key, **urls)


def _folder() -> Path:
    """Give this user's own folder for run-time files, made if need be; refuse one that others can write."""
    home = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(home or tempfile.gettempdir()) / ("tollhouse" if home else f"tollhouse-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationError("run-time folder", str(folder), "it is not yours alone; remove it")
    return folder
