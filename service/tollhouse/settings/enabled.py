"""What the settings turn off: reported by the log, once in a process, and by `tollhouse check`."""

from __future__ import annotations

from functools import cache
from typing import Final

from tollhouse.logs import Log
from tollhouse.settings.model import Settings

_log: Final = Log("tollhouse")


def turned_off(settings: Settings) -> tuple[str, ...]:
    """Return what is off as one sentence each, with the variable that turns it on."""
    features = (
        (settings.limits.enabled, "limits are off, every take is allowed: set TOLLHOUSE_LIMITS_ENABLED=true"),
        (settings.cache.enabled, "the cache is off, every value is loaded: set TOLLHOUSE_CACHE_ENABLED=true"),
    )
    return tuple(sentence for enabled, sentence in features if not enabled)


@cache
def report_off(sentence: str) -> None:
    """Log that something is off, once in this process: an application may open the same settings in many loops."""
    _log.warning("a feature is off", extra={"reason": sentence})
