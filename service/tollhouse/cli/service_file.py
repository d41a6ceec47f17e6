"""The service file: how other commands find the service that `tollhouse serve` runs for the same user.

It holds secrets, so it is readable only by its owner and lies in a folder that only its owner can write.
"""

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
from tollhouse.settings import Settings, settings_file
from tollhouse.wiring import load_settings

_FILE: Final = "serve.json"


class ServiceInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service that runs: its address, its stores with their namespace, its secret and keys, and its file."""

    pid: int
    address: str
    urls: dict[str, str]
    secret: tuple[bytes, ...]
    admin_key: tuple[str, ...]
    namespace: str = ""
    file: str | None = None

    def __repr__(self) -> str:
        return f"ServiceInfo(pid={self.pid}, address={self.address!r})"


def write(info: ServiceInfo) -> Path:
    """Write the file and return its path; of several services of one user, the last one that starts is found."""
    path = _private_folder() / _FILE
    fresh = path.with_suffix(f".{info.pid}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(info))
    fresh.replace(path)
    return path


def remove(info: ServiceInfo) -> None:
    """Remove the file, unless another service has replaced it."""
    if read() == info:
        with contextlib.suppress(FileNotFoundError):
            (_folder() / _FILE).unlink()


def read() -> ServiceInfo | None:
    """Return the service that runs for this user; None if there is none, or its process is gone."""
    try:
        folder = _folder()
        _refuse_shared(folder)
        info = msgspec.json.decode((folder / _FILE).read_bytes(), type=ServiceInfo)
        os.kill(info.pid, 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError, msgspec.DecodeError):
        return None
    return info


def load_for_running_service(environ: Mapping[str, str], path: Path | None) -> Settings:
    """Load settings; if they name no server and a service runs, use its stores, namespace, secret and keys.

    Without a settings file here, the service's own file is read.
    """
    settings = load_settings(path, environ=environ)
    info = read() if settings.url == "embedded://" else None
    if info is None:
        return settings
    if info.file is not None and settings_file(environ, path) is None:
        settings = load_settings(info.file, environ=environ)
    urls = {f"{name}_url": url for name, url in info.urls.items()}
    return replace(settings, namespace=info.namespace, secret=info.secret, admin_key=info.admin_key, **urls)


def _folder() -> Path:
    """Return the path of this user's folder for run-time files."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime_dir or tempfile.gettempdir()) / ("tollhouse" if runtime_dir else f"tollhouse-{os.getuid()}")


def _private_folder() -> Path:
    """Return the folder, created if necessary; raise ConfigurationError if it is not private."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_shared(folder)
    return folder


def _refuse_shared(folder: Path) -> None:
    """Raise ConfigurationError if another user owns the folder or can write to it."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigurationError("run-time folder", str(folder), "other users can read or write it; remove it")
