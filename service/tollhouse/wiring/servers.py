"""What the settings name: the URL of each store, the embedded server's program, and the secrets of the data there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tollhouse.settings import Settings
from tollhouse.stores.embedded.folder import persistent_secret
from tollhouse.stores.opening import wall_clock_beside
from tollhouse.stores.urls import EmbeddedClusterTarget, EmbeddedTarget, FakeTarget, StoreName, StoreUrl, urls_by_store


def store_urls(settings: Settings) -> dict[StoreName, StoreUrl]:
    """Return the URL of each of the four stores."""
    return urls_by_store(
        settings.url, settings.store_urls(), address_map=settings.address_map, databases=settings.databases
    )


def wall_clock(settings: Settings, store: StoreName = "limits") -> Callable[[], float]:
    """Return the clock by which a process tells the time of a store: on a fake server it is that of the test."""
    return wall_clock_beside(store_urls(settings)[store])


def wall_clock_ms(settings: Settings) -> Callable[[], int]:
    """Return the clock by which a process tells the milliseconds since 1970 of the sessions and accounts."""
    seconds = wall_clock(settings, "sessions")
    return lambda: int(seconds() * 1000)


def owns_servers(urls: Mapping[StoreName, StoreUrl]) -> bool:
    """Return True if every store is on a server that this process starts, or in its memory."""
    own = EmbeddedTarget | EmbeddedClusterTarget | FakeTarget
    return all(isinstance(url.target, own) for url in urls.values())


def has_secret(settings: Settings, urls: Mapping[StoreName, StoreUrl]) -> bool:
    """Return True if a secret is set, or may be generated: the data of other servers would outlive a generated one."""
    return bool(settings.secret) or owns_servers(urls)


def resolve_secrets(settings: Settings, urls: Mapping[StoreName, StoreUrl]) -> tuple[bytes, ...]:
    """Return the configured secrets; for our own servers, the secret stored beside their data, or that of this process.

    Without `has_secret` there are none: limits and cache then use plain digests, and sessions refuse to open.
    """
    if settings.secret or not has_secret(settings, urls):
        return settings.secret
    target = urls["sessions"].target
    if isinstance(target, EmbeddedTarget) and target.path is not None:
        return (persistent_secret(Path(target.path)),)
    return (process_secret(),)


def embedded_binary() -> Path | None:
    """Return the server that TOLLHOUSE_EMBEDDED_BINARY names; None means the one that the package brings along."""
    path = os.environ.get("TOLLHOUSE_EMBEDDED_BINARY")
    return Path(path) if path else None


@cache
def process_secret() -> bytes:
    """Return the secret for data that end with this process: one for all who open them, in any event loop."""
    return secrets.token_bytes(32)
