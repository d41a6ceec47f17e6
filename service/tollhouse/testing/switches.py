"""Switches for tests: limits off, and the cache off or on, for all that the process has open or opens meanwhile."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tollhouse.wiring.features import CACHE, LIMITS


def limits_off() -> AbstractContextManager[None]:
    """Turn limits off while the block runs: every take is allowed, with the reason `disabled`, and none is counted."""
    return LIMITS.turned(on=False)


def cache_off() -> AbstractContextManager[None]:
    """Turn the cache off while the block runs: each value is loaded, with the status `DISABLED`, and none is stored."""
    return CACHE.turned(on=False)


def cache_on() -> AbstractContextManager[None]:
    """Turn the cache on while the block runs, whatever the settings say, and also inside `cache_off`."""
    return CACHE.turned(on=True)
