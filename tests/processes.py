"""The living processes below one process, zombies apart."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_S = 5.0


def children_of(pid: int) -> set[int]:
    """Return all descendants of a process that are not zombies."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found: set[int] = set()
    added = {pid}
    while added:
        added = {child for child, parent in parents.items() if parent in added} - found
        found |= added
    return {child for child in found if alive(child)}


def alive(pid: int) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_within(pids: set[int], seconds: float = PATIENCE_S) -> bool:
    """Return True as soon as none of the processes lives, False if one does after `seconds`."""
    give_up_s = time.monotonic() + seconds
    while time.monotonic() < give_up_s:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
