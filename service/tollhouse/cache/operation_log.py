"""The log of operations at DEBUG, for `cache.debug`: by names on the server, which are digests, and never by keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tollhouse.cache.key_names import Names
from tollhouse.logs import Log

_SHOWN_MAX: Final = 8
"""How many names of one call are shown."""

_log: Final = Log("tollhouse.cache")


def log_read(entry: str, family: str, result: str) -> None:
    """Log how a value was found."""
    if _log.has_debug:
        _log.debug("cache read", extra={"family": family, "key": entry, "result": result})


def log_write(entry: str, *, is_stored: bool) -> None:
    """Log a value that was stored, or refused as outdated."""
    if _log.has_debug:
        _log.debug("cache write", extra={"key": entry, "stored": is_stored})


def log_removal(entries: Sequence[Names], removed: int) -> None:
    """Log the invalidation of entries, of which `removed` had a value."""
    if _log.has_debug:
        fields = {"keys": [names[0] for names in entries[:_SHOWN_MAX]], "count": len(entries), "removed": removed}
        _log.debug("cache keys invalidated", extra=fields)


def log_marks(digests: Sequence[str]) -> None:
    """Log the invalidation of tags; `*` is that of everything, and `?` that of what is being loaded."""
    if _log.has_debug:
        fields = {"tags": list(digests[:_SHOWN_MAX]), "count": len(digests)}
        _log.debug("cache tags invalidated", extra=fields)
