"""All settings in one validated value, from a TOML file and the environment.

The first of these that sets a value wins: a command-line flag, a `TOLLHOUSE_` variable, the variable of another tool
such as REDIS_URL, the file, the default. Each variable has a twin with the suffix `_FILE` that names a file with the
value.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, convert
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError, InvalidInput
from tollhouse.logs import redact
from tollhouse.settings.leaf import leaves, parse
from tollhouse.settings.model import Settings
from tollhouse.settings.sources import (
    CONFIG,
    REDIS_PASSWORD,
    REDIS_URL,
    RawSetting,
    from_aliases,
    from_file,
    from_flags,
    from_variables,
    without_service_links,
)

__all__ = [
    "ReadSettings",
    "Settings",
    "named",
    "naming",
    "read",
    "remove_secrets",
    "settings_file",
    "with_instances",
]

_DEFAULT_FILE = Path("tollhouse.toml")
_LEAVES: Final = tuple(leaves(Settings))


class ReadSettings(Struct, frozen=True, kw_only=True):
    """Settings, and the variable, the line of the file or the flag that set each of them, by its name in the file."""

    settings: Settings
    origins: Mapping[str, str]

    def names_server(self, stores: Iterable[str]) -> bool:
        """Return True if a server is set for all of `stores`, be it the embedded one."""
        return "url" in self.origins or all(f"{name}_url" in self.origins for name in stores)


def read(
    environ: Mapping[str, str], path: Path | None = None, *, flags: Mapping[str, object] | None = None
) -> ReadSettings:
    """Read the settings; raise ConfigurationError with the origin of a value that is wrong, and the remedy.

    The file is that of `settings_file`. `flags` are the values of command-line flags by setting; None means that the
    flag is absent. What a URL or a limit says is checked by those who use it.
    """
    environ = without_service_links(environ)
    file = settings_file(environ, path)
    raw = [] if file is None else list(from_file(file, _LEAVES))
    paths = [setting.path for setting in raw]
    raw += [*from_aliases(environ), *from_variables(environ, _LEAVES, paths), *from_flags(flags or {}, _LEAVES)]
    by_path = {setting.path: setting for setting in raw}
    _require(by_path)
    tree: dict[str, Any] = {}
    for setting in by_path.values():
        leaf = next(leaf for leaf in _LEAVES if leaf.matches(setting.path))
        _place(tree, setting.path, parse(leaf, setting.value, setting.origin, is_text=setting.is_text))
    origins = {".".join(path): setting.origin for path, setting in by_path.items()}
    with naming(origins):
        return ReadSettings(settings=convert(tree, Settings), origins=origins)


@contextmanager
def naming(origins: Mapping[str, str]) -> Generator[None]:
    """Make errors about a setting name its origin instead, if it has one."""
    try:
        yield
    except (ConfigurationError, InvalidInput) as error:
        renamed = named(error, origins)
        if renamed is error:
            raise
        raise renamed from error


def named(error: ConfigurationError | InvalidInput, origins: Mapping[str, str]) -> ConfigurationError | InvalidInput:
    """Return the error with the origin of its setting in place of the setting, if it has one."""
    if isinstance(error, ConfigurationError):
        origin = origins.get(error.setting)
        return error if origin is None else ConfigurationError(origin, error.value, error.remedy)
    names = (f"limits.{error.field}", f"limits.{error.field}.limit")
    origin = next((origins[name] for name in names if name in origins), None)
    return error if origin is None else InvalidInput(origin, error.value, error.remedy, kind=error.kind)


def settings_file(environ: Mapping[str, str], path: Path | None = None) -> Path | None:
    """Return `path`, else the file that TOLLHOUSE_CONFIG names, else `./tollhouse.toml` if it exists, else None."""
    if path is not None:
        return path
    if environ.get(CONFIG):
        return Path(environ[CONFIG])
    return _DEFAULT_FILE if _DEFAULT_FILE.is_file() else None


def with_instances(settings: Settings) -> Settings:
    """Return the settings of a service: as many processes share the limits as it has workers, unless they say so."""
    instances = settings.limits.instances or settings.workers
    return replace(settings, limits=replace(settings.limits, instances=instances))


def remove_secrets(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that hold a secret, or a URL with a password: a child process would show them to others."""
    secret = {leaf.variable for leaf in _LEAVES if leaf.secret} | {REDIS_PASSWORD}
    urls = {leaf.variable for leaf in _LEAVES if leaf.name.endswith("url")} | {REDIS_URL}
    for name in (secret | urls) & environ.keys():
        if name in secret or redact(environ[name]) != environ[name]:
            del environ[name]


def _require(raw_settings: Mapping[tuple[str, ...], RawSetting]) -> None:
    """Raise ConfigurationError if a table lacks a setting that it must have."""
    for leaf in (leaf for leaf in _LEAVES if leaf.is_required):
        for path, setting in raw_settings.items():
            required = (*path[:-1], leaf.path[-1])
            if leaf.matches(required) and required not in raw_settings:
                raise ConfigurationError(".".join(required), None, f"{setting.origin} needs it; {leaf.meaning}")


def _place(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value
