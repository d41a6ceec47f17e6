"""Configuration: the settings of an application, from its arguments or from the file and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from tollhouse.accounts.hashing.cost import hashing_cost
from tollhouse.errors import ConfigurationError
from tollhouse.limits.policy.catalog import policies_from_settings
from tollhouse.logs import Log
from tollhouse.sessions import policies as sessions
from tollhouse.settings import ReadSettings, Settings, naming, read
from tollhouse.stores.urls import STORES
from tollhouse.wiring.features import password_rules
from tollhouse.wiring.passkeys import passkey_party
from tollhouse.wiring.servers import store_urls

_log = Log("tollhouse.settings")


def load_settings(
    file: str | Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings of `tollhouse serve`: what `open` reads if it is given neither a URL nor settings.

    They are those of the TOLLHOUSE_ variables, of REDIS_URL and its like, and of `file`: by default the one that
    TOLLHOUSE_CONFIG names, else `tollhouse.toml` in the working folder, if it is there. `flags` win over all of them:
    values by the name of a setting, None for a flag that is absent. Raises ConfigurationError or InvalidInput, naming
    the variable, or the file and its line, that holds a value that cannot be used.
    """
    return _read(environ, file, flags).settings


def settings_for(
    target: str | Settings | None, namespace: str | None = None, *, strict: bool | None = None
) -> Settings:
    """Return the settings for a URL, those given, or those that are read if nothing is; arguments replace theirs."""
    settings = default_settings() if target is None else target
    if isinstance(settings, str):
        settings = Settings(url=settings)
    if not isinstance(cast("object", settings), Settings):
        raise ConfigurationError("url", settings, "give a URL as text, or Settings")
    given = {"namespace": namespace, "strict": strict}
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def default_settings() -> Settings:
    """Read the settings; log a warning, once in the life of the process, if they set no server."""
    found = _read()
    if not found.names_server(STORES):
        _warn_of_default()
    return found.settings


def settings_with_server() -> Settings | None:
    """Read the settings; return None if they set no server for limits."""
    found = _read()
    return found.settings if found.names_server(["limits"]) else None


def _read(
    environ: Mapping[str, str] = os.environ,
    file: str | Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> ReadSettings:
    if not isinstance(cast("object", file), str | Path | None):
        raise ConfigurationError("file", file, "give the path of a settings file")
    found = read(environ, None if file is None else Path(file), flags=flags)
    with naming(found.origins):
        store_urls(found.settings)
        policies_from_settings(found.settings)
        sessions.policies_from_settings(found.settings)
        password_rules(found.settings)
        hashing_cost(found.settings)
        passkey_party(found.settings)
    return found


@cache
def _warn_of_default() -> None:
    """Log that no server is set; cached, so that a process does it once."""
    remedy = "set TOLLHOUSE_URL=redis://HOST:6379/0 to share them, or TOLLHOUSE_URL=embedded:// if this is meant"
    _log.warning("no server is set: limits, sessions and results are of this process alone", extra={"remedy": remedy})
