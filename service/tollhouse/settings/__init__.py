"""All settings in one validated value, from a TOML file and the environment.

The first of these that sets a value wins: a command-line flag, a `TOLLHOUSE_` variable, the variable of another tool
such as REDIS_URL, the file, the default. Each variable has a twin with the suffix `_FILE` that names a file with the
value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from msgspec import convert
from msgspec.structs import replace

from tollhouse.errors import ConfigurationError
from tollhouse.logs import redact
from tollhouse.settings.leaf import leaves, parse
from tollhouse.settings.model import PolicySettings, Settings
from tollhouse.settings.sources import (
    CONFIG,
    REDIS_PASSWORD,
    REDIS_URL,
    RawSetting,
    from_aliases,
    from_file,
    from_variables,
    without_service_links,
)

__all__ = ["Settings", "load", "remove_secrets", "settings_file", "settings_for", "with_policies"]

_DEFAULT_FILE = Path("tollhouse.toml")
_LEAVES: Final = tuple(leaves(Settings))


def load(
    environ: Mapping[str, str], path: Path | None = None, *, flags: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings; raise ConfigurationError with the origin of a value that is wrong, and the remedy.

    The file is that of `settings_file`. `flags` are the values of command-line flags by setting; None means that the
    flag is absent.
    """
    environ = without_service_links(environ)
    file = settings_file(environ, path)
    raw = [] if file is None else list(from_file(file, _LEAVES))
    policies = {setting.path[2] for setting in raw if setting.path[:2] == ("limits", "policies")}
    raw += [*from_aliases(environ), *from_variables(environ, _LEAVES, policies), *_from_flags(flags or {})]
    by_path = {setting.path: setting for setting in raw}
    _require(by_path)
    tree: dict[str, Any] = {}
    for setting in by_path.values():
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


def settings_for(target: str | Settings, namespace: str | None = None) -> Settings:
    """Return the settings for a URL, or those given; a `namespace` replaces theirs."""
    settings = Settings(url=target) if isinstance(target, str) else target
    return settings if namespace is None else replace(settings, namespace=namespace)


def with_policies(settings: Settings, policies: Mapping[str, str] | None) -> Settings:
    """Return the settings with policies that the code adds; these replace policies of the same name."""
    if not policies:
        return settings
    added = {name: PolicySettings(limit=limit) for name, limit in policies.items()}
    limits = replace(settings.limits, policies={**settings.limits.policies, **added})
    return replace(settings, limits=limits)


def remove_secrets(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that hold a secret, or a URL with a password: a child process would show them to others."""
    secret = {leaf.variable for leaf in _LEAVES if leaf.secret} | {REDIS_PASSWORD}
    urls = {leaf.variable for leaf in _LEAVES if leaf.name.endswith("url")} | {REDIS_URL}
    for name in (secret | urls) & environ.keys():
        if name in secret or redact(environ[name]) != environ[name]:
            del environ[name]


def _from_flags(flags: Mapping[str, object]) -> Iterator[RawSetting]:
    for name, value in flags.items():
        if value is not None:
            yield RawSetting(path=(name,), value=value, origin=f"--{name.replace('_', '-')}")


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
