"""All settings in one validated value, from a TOML file and the environment.

The first of these that sets a value wins: a command-line flag, a `TOLLHOUSE_` variable, the variable of another tool
such as REDIS_URL, the file, the default. Each variable has a twin with the suffix `_FILE` that names a file with the
value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, convert

from tollhouse.errors import ConfigurationError
from tollhouse.settings.leaf import is_required, leaves, parse
from tollhouse.settings.model import (
    CacheSettings,
    LimitSettings,
    PolicySettings,
    Settings,
    describe,
    differences,
)
from tollhouse.settings.networks import Network, is_loopback, trusted_networks
from tollhouse.settings.sources import (
    CONFIG,
    RawSetting,
    from_aliases,
    from_file,
    from_variables,
    without_service_links,
)

__all__ = [
    "CacheSettings",
    "LimitSettings",
    "Network",
    "PolicySettings",
    "Reference",
    "Settings",
    "describe",
    "differences",
    "is_loopback",
    "load",
    "reference",
    "settings_file",
    "trusted_networks",
]

_DEFAULT_FILE = Path("tollhouse.toml")
_LEAVES: Final = tuple(leaves(Settings))


class Reference(Struct, frozen=True, kw_only=True):
    """One row of the settings table."""

    variable: str
    name: str
    default: str
    meaning: str


def load(
    environ: Mapping[str, str], path: Path | None = None, *, flags: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings; raise ConfigurationError with the origin of a value that is wrong, and the remedy.

    The file is that of `settings_file`. `flags` are the values of command-line flags by setting; None means that the
    flag is absent.
    """
    environ = without_service_links(environ)
    file = settings_file(environ, path)
    raw_settings = {} if file is None else _keyed_by_path(from_file(file, _LEAVES))
    raw_settings |= _keyed_by_path(from_aliases(environ))
    policies = {path[2] for path in raw_settings if path[:2] == ("limits", "policies")}
    raw_settings |= _keyed_by_path(from_variables(environ, _LEAVES, policies))
    raw_settings |= _keyed_by_path(_from_flags(flags or {}))
    _require(raw_settings)
    tree: dict[str, Any] = {}
    for setting in raw_settings.values():
        leaf = next(leaf for leaf in _LEAVES if leaf.matches(setting.path))
        _place(tree, setting.path, parse(leaf, setting.value, setting.origin))
    return convert(tree, Settings)


def settings_file(environ: Mapping[str, str], path: Path | None = None) -> Path | None:
    """Return `path`, else the file that TOLLHOUSE_CONFIG names, else `./tollhouse.toml` if it exists, else None."""
    if path is not None:
        return path
    if environ.get(CONFIG):
        return Path(environ[CONFIG])
    return _DEFAULT_FILE if _DEFAULT_FILE.is_file() else None


def reference() -> tuple[Reference, ...]:
    """Return the rows of the settings table in the documentation."""
    return tuple(
        Reference(
            variable=leaf.variable,
            name=leaf.name,
            default="required" if is_required(leaf) else leaf.shown(leaf.default),
            meaning=leaf.meaning,
        )
        for leaf in _LEAVES
    )


def _keyed_by_path(settings: Iterable[RawSetting]) -> dict[tuple[str, ...], RawSetting]:
    return {setting.path: setting for setting in settings}


def _from_flags(flags: Mapping[str, object]) -> Iterator[RawSetting]:
    for name, value in flags.items():
        if value is not None:
            yield RawSetting(path=(name,), value=value, origin=f"--{name.replace('_', '-')}")


def _require(raw_settings: Mapping[tuple[str, ...], RawSetting]) -> None:
    """Raise ConfigurationError if a table lacks a setting that it must have."""
    for leaf in filter(is_required, _LEAVES):
        for path, setting in raw_settings.items():
            required = (*path[:-1], leaf.path[-1])
            if leaf.matches(required) and required not in raw_settings:
                raise ConfigurationError(".".join(required), None, f"{setting.origin} needs it; {leaf.meaning}")


def _place(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value
