"""The server of a Litestar store, as settings for limits that are kept on the same server."""

from __future__ import annotations

import re
from ssl import VerifyMode
from typing import Any, Final
from urllib.parse import quote, urlencode

from litestar.stores.base import Store
from litestar.stores.redis import RedisStore

from tollhouse.errors import ConfigurationError
from tollhouse.keys import NAMESPACE_CHARACTERS, NAMESPACE_CHARACTERS_MAX
from tollhouse.settings import Settings
from tollhouse.stores.urls import TLS_OPTIONS

_UNNAMED: Final = re.compile(r"LITESTAR(_.*)?", re.DOTALL)
"""The namespaces that Litestar gives to a store without one, and to those that it derives from it."""
_OTHERS: Final = re.compile(f"[^{NAMESPACE_CHARACTERS}]")


def settings_for_store(store: Store) -> Settings | None:
    """Return server, database and namespace of a RedisStore; None for any other store.

    Litestar's default namespace is none here; in another one, characters that ours cannot have become `-`.
    Raises ConfigurationError if the store's client does not know the address of its server, as behind Sentinel.
    """
    if not isinstance(store, RedisStore):
        return None
    pool: Any = store._redis.connection_pool  # pyright: ignore[reportPrivateUsage] - nothing else knows
    url = _url(pool.connection_kwargs, tls=pool.connection_class.__name__.startswith("SSL"))
    if url is None:
        raise ConfigurationError("store", type(pool).__name__, "its server is not known; add TollhousePlugin(url)")
    return Settings(url=url, limits_url=url, namespace=_namespace(store.namespace))


def _namespace(given: str | None) -> str:
    if given is None or _UNNAMED.fullmatch(given):
        return ""
    return _OTHERS.sub("-", given)[:NAMESPACE_CHARACTERS_MAX]


def _url(given: dict[str, Any], *, tls: bool) -> str | None:
    options: dict[str, Any] = {"db": given.get("db") or 0}
    login = _login(given.get("username"), given.get("password"))
    if given.get("path"):
        return f"unix://{login}{quote(given['path'])}?{urlencode(options)}"
    if not given.get("host"):
        return None
    if tls:
        options |= {name: _text(given[name]) for name in sorted(TLS_OPTIONS) if given.get(name) is not None}
    host = f"[{given['host']}]" if ":" in given["host"] else given["host"]
    return f"{'rediss' if tls else 'redis'}://{login}{host}:{given.get('port') or 6379}?{urlencode(options)}"


def _text(option: object) -> str:
    """Return an option as a URL has it; redis-py also takes a member of `ssl.VerifyMode`."""
    return option.name if isinstance(option, VerifyMode) else str(option)


def _login(username: str | None, password: str | None) -> str:
    if not username and not password:
        return ""
    return f"{quote(username or '', safe='')}:{quote(password or '', safe='')}@"
