"""Sources of settings: a file, variables of other tools, our own variables. Each value carries its origin."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from msgspec import Struct

from tollhouse.errors import ConfigurationError
from tollhouse.logs import HIDDEN
from tollhouse.pages import page_path
from tollhouse.settings.leaf import ANY_NAME, Leaf
from tollhouse.suggest import one_of

PREFIX: Final = "TOLLHOUSE_"
CONFIG: Final = "TOLLHOUSE_CONFIG"
REDIS_URL: Final = "REDIS_URL"
REDIS_PASSWORD: Final = "REDIS_PASSWORD"  # noqa: S105 - the name of a variable

_NAME: Final = "_NAME_"
"""What stands in the variable of a setting for the name of a policy."""
_RENAMED = {"beside": "shadow_of", "BESIDE": "SHADOW_OF"}
"""The last words of names that were replaced: the error suggests the new name."""
_NOT_SETTINGS = frozenset({CONFIG, "TOLLHOUSE_EMBEDDED_BINARY"})
_ALIASES = {
    REDIS_URL: ("url",),
    "CACHE_ENABLED": ("cache", "enabled"),
    "CACHE_TTL_SECONDS": ("cache", "ttl_s"),
    "CACHE_KEY_PREFIX": ("cache", "key_prefix"),
    "CACHE_DEBUG": ("cache", "debug"),
}
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
_LINKED_PORT = re.compile("(tcp|udp|sctp)://")


class RawSetting(Struct, frozen=True, kw_only=True):
    """A value before it is parsed, and the variable or the line that sets it.

    `is_text` is true for a variable: whatever it says, it says by text.
    """

    path: tuple[str, ...]
    value: object
    origin: str
    is_text: bool = False


def from_file(path: Path, leaves: Iterable[Leaf]) -> Iterator[RawSetting]:
    """Read a TOML file; raise ConfigurationError for a setting that does not exist."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), error.strerror, "give the path of a file that can be read") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(str(path), str(error), "write it in TOML, as UTF-8") from error
    yield from _from_table(table, (), path.name, tuple(leaves))


def from_aliases(environ: Mapping[str, str]) -> Iterator[RawSetting]:
    """Read the variables that other tools use; REDIS_URL wins over REDIS_HOST, REDIS_PORT and so on."""
    redis = _from_redis_parts(environ)
    if redis is not None:
        yield redis
    for alias, path in _ALIASES.items():
        text = read_text(environ, alias)
        if text is not None:
            yield RawSetting(path=path, value=text, origin=_origin(environ, alias), is_text=True)


def from_variables(
    environ: Mapping[str, str], leaves: Iterable[Leaf], paths: Collection[tuple[str, ...]]
) -> Iterator[RawSetting]:
    """Read every TOLLHOUSE_ variable; raise ConfigurationError for an unknown one.

    `paths` are those of other settings, whose names a variable can mean but not spell.
    """
    patterns = [(leaf, _pattern(leaf)) for leaf in leaves]
    bases = {name.removesuffix("_FILE") for name in environ if name.startswith(PREFIX) and name not in _NOT_SETTINGS}
    for variable in sorted(bases):
        matched = ((leaf, pattern.fullmatch(variable)) for leaf, pattern in patterns)
        leaf, match = next(((leaf, match) for leaf, match in matched if match), (None, None))
        if leaf is None or match is None:
            meant = _renamed(variable)
            known = [*(_for_policy_of(meant, leaf.variable) for leaf, _ in patterns), *_NOT_SETTINGS]
            remedy = one_of(meant, known, listed=_see_table(), prefix=PREFIX)
            named = f"{variable}_FILE" if variable in _NOT_SETTINGS else variable
            raise ConfigurationError(named, HIDDEN, f"is no setting; {remedy}")
        text = read_text(environ, variable)
        if text is not None:
            path = tuple(part if part != ANY_NAME else _name(leaf, match[1], paths) for part in leaf.path)
            yield RawSetting(path=path, value=text, origin=_origin(environ, variable), is_text=True)


def from_flags(flags: Mapping[str, object], leaves: Iterable[Leaf]) -> Iterator[RawSetting]:
    """Read values by the name of a setting; raise ConfigurationError for an unknown one. None is an absent flag."""
    known = tuple(leaves)
    for name, value in flags.items():
        path = tuple(name.split("."))
        if not any(leaf.matches(path) for leaf in known):
            remedy = one_of(name, [leaf.name for leaf in known], listed=_see_table())
            raise ConfigurationError("flags", name, f"is no setting; {remedy}")
        if value is not None:
            yield RawSetting(path=path, value=value, origin=f"--{name.replace('_', '-')}")


def read_text(environ: Mapping[str, str], variable: str) -> str | None:
    """Return the text of a variable, or of the file that its `_FILE` twin names; None if unset or empty."""
    file_variable = f"{variable}_FILE"
    text, path = environ.get(variable) or None, environ.get(file_variable) or None
    if path is None:
        return None if text is None else _decoded(variable, text)
    shown = _shown_path(path)
    if text is not None:
        raise ConfigurationError(file_variable, shown, f"{variable} is set too; unset one of them")
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        remedy = f"cannot be read ({error.__class__.__name__}); name a readable text file, or unset {file_variable}"
        raise ConfigurationError(file_variable, shown, remedy) from error
    content = content.removesuffix("\n").removesuffix("\r")
    if not content:
        raise ConfigurationError(file_variable, shown, f"is empty; write the value into it, or unset {file_variable}")
    return content


def _decoded(variable: str, text: str) -> str:
    """Return the text of a variable; raise ConfigurationError if its bytes are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(variable, HIDDEN, "write it in UTF-8; bytes of any other kind are no text") from error
    return text


def _shown_path(path: str) -> str:
    """Return a path that begins as paths do; anything else may be the secret itself, in the place of its file."""
    return path if path.startswith(("/", ".")) else HIDDEN


def without_service_links(environ: Mapping[str, str]) -> dict[str, str]:
    """Remove the variables that Kubernetes sets for services named `tollhouse` or `redis`: these are no settings."""
    return {
        name: value
        for name, value in environ.items()
        if not (_SERVICE_LINK.search(name) or (name.endswith("_PORT") and _LINKED_PORT.match(value)))
    }


def _from_table(
    table: Mapping[str, Any], above: tuple[str, ...], file: str, leaves: tuple[Leaf, ...]
) -> Iterator[RawSetting]:
    for key, value in table.items():
        path = (*above, key)
        origin = f"{file}: {'.'.join(path)}"
        if any(leaf.matches(path) for leaf in leaves):
            yield RawSetting(path=path, value=value, origin=origin)
        elif not any(leaf.within(path) for leaf in leaves):
            siblings = {leaf.path[len(above)] for leaf in leaves if len(leaf.path) > len(above) and leaf.within(above)}
            remedy = one_of(_renamed(key), siblings, listed=_see_table())
            raise ConfigurationError(origin, HIDDEN, f"is no setting; {remedy}")
        elif isinstance(value, dict):
            yield from _from_table(cast("dict[str, Any]", value), path, file, leaves)
        else:
            raise ConfigurationError(origin, HIDDEN, f"is a table; write [{'.'.join(path)}] and its settings below")


def _from_redis_parts(environ: Mapping[str, str]) -> RawSetting | None:
    parts = {name: read_text(environ, f"REDIS_{name}") for name in ("HOST", "PORT", "PASSWORD", "DB")}
    if all(text is None for text in parts.values()):
        return None
    for name in ("PORT", "DB"):
        if not (parts[name] or "0").isdecimal():
            raise ConfigurationError(f"REDIS_{name}", parts[name], "give a number")
    host = parts["HOST"] or "localhost"
    password = f":{quote(parts['PASSWORD'], safe='')}@" if parts["PASSWORD"] else ""
    bracketed = f"[{host}]" if ":" in host else host
    url = f"redis://{password}{bracketed}:{parts['PORT'] or 6379}/{parts['DB'] or 0}"
    first = next(name for name, text in parts.items() if text is not None)
    return RawSetting(path=("url",), value=url, origin=_origin(environ, f"REDIS_{first}"), is_text=True)


def _origin(environ: Mapping[str, str], variable: str) -> str:
    """Return the variable that gives the text, which may be the one that names a file."""
    return variable if environ.get(variable) else f"{variable}_FILE"


def _name(leaf: Leaf, spelled: str, paths: Iterable[tuple[str, ...]]) -> str:
    """Return the name in one of the paths that a variable spells so, else the spelling in lower case."""
    place = leaf.path.index(ANY_NAME)
    names = (path[place] for path in paths if len(path) > place and path[:place] == leaf.path[:place])
    return next((name for name in names if re.sub(r"\W", "_", name).upper() == spelled), spelled.lower())


def _pattern(leaf: Leaf) -> re.Pattern[str]:
    words = ("(.+)" if part == ANY_NAME else part.upper() for part in leaf.path)
    return re.compile(PREFIX + "_".join(words))


def _renamed(name: str) -> str:
    """Return the name that replaced `name`, or `name` itself."""
    for old, new in _RENAMED.items():
        if name == old or name.endswith(f"_{old}"):
            return name.removesuffix(old) + new
    return name


def _for_policy_of(variable: str, pattern: str) -> str:
    """Return a variable of a policy for the policy that another variable names; any other as it is."""
    table, found, setting = pattern.partition(_NAME)
    policy = variable.removeprefix(table).rsplit("_", setting.count("_") + 1)[0]
    return f"{table}{policy}_{setting}" if found and policy and variable.startswith(table) else pattern


def _see_table() -> str:
    return f"see the table of settings in {page_path('settings')}"
