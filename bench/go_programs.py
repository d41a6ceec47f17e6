"""The programs of `bench/go`, built from source into `out/`: a server on redis_rate, and a load on an HTTP server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

_SOURCE = Path(__file__).parent / "go"
_FOLDER = _SOURCE.parents[1] / "out" / "bench-go"
_USUAL = "/usr/local/go/bin"


class GoPrograms(Struct, frozen=True, kw_only=True):
    """The programs, and the Go and the libraries that they were built with."""

    takes: Path
    load: Path
    versions: str


def built() -> GoPrograms | str:
    """Build the programs, or return why they cannot be.

    The first time takes half a minute. The sums of the modules are looked up and kept beside the copy that is built.
    """
    go = shutil.which("go") or shutil.which("go", path=_USUAL)
    if go is None:
        return "Go is not installed"
    shutil.copytree(_SOURCE, _FOLDER, dirs_exist_ok=True)
    done = subprocess.run(
        [go, "build", "-mod=mod", "-o", "bin/", "./..."], cwd=_FOLDER, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return f"Go could not build it: {done.stderr.strip().splitlines()[-1]}"
    programs = _FOLDER / "bin"
    return GoPrograms(takes=programs / "takes", load=programs / "load", versions=_versions(go, programs / "takes"))


def _versions(go: str, program: Path) -> str:
    """Return the version of Go, and of the modules that were asked for by name."""
    shown = subprocess.run([go, "version", "-m", str(program)], capture_output=True, text=True, check=True).stdout
    fields = [line.split() for line in shown.splitlines()]
    modules = [f"{one[1].split('/')[-2]} {one[2]}" for one in fields if one[:1] == ["dep"] and "redis" in one[1]]
    return ", ".join([fields[0][-1], *modules])
