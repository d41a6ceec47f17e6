"""Every setting, in one validated value, from a TOML file and the environment.

A value is taken from the first that has one: a flag, a `TOLLHOUSE_` variable, the variable of another
tool such as REDIS_URL, the file, the default. Any variable may instead be named with `_FILE` behind it and
hold the path of a file that holds the value.
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
    """One row of the table of settings."""

    variable: str
    name: str
    default: str
    meaning: str


def load(
    environ: Mapping[str, str], path: Path | None = None, *, flags: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings; ConfigurationError names what is wrong, where it was set, and the remedy.

    The file is that of `settings_file`. `flags` are values from the command line, by setting; None means that
    the flag was not given.
    """
    environ = without_service_links(environ)
    file = settings_file(environ, path)
    found = {} if file is None else _keyed_by_path(from_file(file, _LEAVES))
    found |= _keyed_by_path(from_aliases(environ))
    policies = {path[2] for path in found if path[:2] == ("limits", "policies")}
    found |= _keyed_by_path(from_variables(environ, _LEAVES, policies))
    found |= _keyed_by_path(_from_flags(flags or {}))
    _require(found)
    tree: dict[str, Any] = {}
    for one in found.values():
        leaf = next(leaf for leaf in _LEAVES if leaf.matches(one.path))
        _place(tree, one.path, parse(leaf, one.raw, one.origin))
    return convert(tree, Settings)


def settings_file(environ: Mapping[str, str], path: Path | None = None) -> Path | None:
    """Give `path`, else the file that TOLLHOUSE_CONFIG names, else `./tollhouse.toml` if there is one."""
    if path is not None:
        return path
    if environ.get(CONFIG):
        return Path(environ[CONFIG])
    return _DEFAULT_FILE if _DEFAULT_FILE.is_file() else None


def reference() -> tuple[Reference, ...]:
    """Give the table of settings, which the documents repeat."""
    return tuple(
        Reference(
            variable=leaf.variable,
            name=leaf.name,
            default="required" if is_required(leaf) else leaf.shown(leaf.default),
            meaning=leaf.meaning,
        )
        for leaf in _LEAVES
    )


def _keyed_by_path(found: Iterable[RawSetting]) -> dict[tuple[str, ...], RawSetting]:
    return {one.path: one for one in found}


def _from_flags(flags: Mapping[str, object]) -> Iterator[RawSetting]:
    for name, value in flags.items():
        if value is not None:
            yield RawSetting(path=(name,), raw=value, origin=f"--{name.replace('_', '-')}")


def _require(found: Mapping[tuple[str, ...], RawSetting]) -> None:
    """A table with any of its settings must have the required ones."""
    for leaf in filter(is_required, _LEAVES):
        for path, one in found.items():
            wanted = (*path[:-1], leaf.path[-1])
            if leaf.matches(wanted) and wanted not in found:
                raise ConfigurationError(".".join(wanted), None, f"{one.origin} needs it; {leaf.meaning}")


def _place(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value
