"""How many processors and how much memory this process may use, as the system and its control group say."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")


def processors() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes(root: Path = _ROOT) -> int | None:
    """Return the memory of the machine, or of the control group if that is less; None if the system does not say."""
    found = [_meminfo_bytes(root / "proc/meminfo"), _limit_bytes(root / "sys/fs/cgroup/memory.max")]
    return min((size for size in found if size is not None), default=None)


def _meminfo_bytes(path: Path) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB$", _text(path), re.MULTILINE)
    return None if found is None else 1_024 * int(found[1])


def _limit_bytes(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
