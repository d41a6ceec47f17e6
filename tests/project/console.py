"""Runs the console blocks of a page, and compares what they print with what the page shows."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

ANYTHING = "…"
TIMEOUT_S = 120

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXACT_HEADERS = frozenset({"x-cache"})
_MOVING = re.compile(r"_(?:ms|at|s|seconds)$")


class Command(Struct, frozen=True, kw_only=True):
    """A line that follows `$ `, and the lines that are shown below it."""

    line: str
    shown: str = ""


class Ran(Struct, frozen=True, kw_only=True):
    """What came of a command: its exit status, and both of its outputs as they came."""

    status: int
    output: str


def blocks(page: str, language: str) -> list[str]:
    """Return the text of each fenced block of a language, in order."""
    return [text for _, text in steps(page, language)]


def steps(page: str, *languages: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block of some languages, in order."""
    return [(match[1], match[2]) for match in _FENCE.finditer(page) if match[1] in languages]


def languages(page: str) -> set[str]:
    """Return the language of every fenced block."""
    return {match[1] for match in _FENCE.finditer(page)}


def commands(block: str) -> list[Command]:
    """Read a console block; a command goes on in the next line after a backslash."""
    joined = block.replace("\\\n", "")
    first, *rest = re.split(r"^\$ ", joined, flags=re.MULTILINE)
    if first.strip():
        raise ValueError(f"a console block starts with `$ `, not with {first.strip()!r}")
    return [Command(line=line, shown=shown.strip()) for line, _, shown in (part.partition("\n") for part in rest)]


def run(lines: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[Ran]:
    """Run the lines in one bash, one after the other, so that a variable set in one is there in the next."""
    mark = secrets.token_hex(8)
    script = folder / "commands.sh"
    script.write_text("".join(f"{line}\nprintf '\\n%s %s\\n' {mark} $?\n" for line in lines), encoding="utf-8")
    finished = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    parts = re.split(rf"\n{mark} (\d+)\n", finished.stdout)
    ran = [Ran(status=int(status), output=output) for output, status in zip(parts[::2], parts[1::2], strict=False)]
    if len(ran) != len(lines):
        raise ValueError(f"bash stopped after {len(ran)} of {len(lines)} commands: {parts[-1]}")
    return ran


def differences(shown: str, output: str) -> Iterator[str]:
    """Return the lines in which an output differs from the one shown; `…` stands for anything."""
    plain = output.replace("\r\n", "\n").strip()
    if shown.startswith("HTTP/"):
        yield from _response_differences(shown, plain)
    elif shown.startswith(("{", "[")):
        yield from _json_differences(shown, plain)
    else:
        yield from _line_differences(shown, plain)


def _response_differences(shown: str, output: str) -> Iterator[str]:
    shown_head, _, shown_body = shown.partition("\n\n")
    head, _, body = output.partition("\n\n")
    status, *lines = head.splitlines() or [""]
    shown_status, *shown_lines = shown_head.splitlines()
    if status.split()[1:2] != shown_status.split()[1:2]:
        yield f"{shown_status!r} is shown, {status!r} came"
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    for line in (line for line in shown_lines if line != ANYTHING):
        name, _, value = line.partition(":")
        values = [came for field, came in fields if field == name.lower()]
        exact = name.lower() in _EXACT_HEADERS
        if not any(came == value.strip() if exact else _alike(value, came) for came in values):
            yield f"{line!r} is shown, {values or 'no such header'} came"
    if shown_body:
        yield from differences(shown_body.strip(), body)


def _json_differences(shown: str, output: str) -> Iterator[str]:
    text = re.sub(rf"(?:,|(?<={{))\s*{ANYTHING}\s*}}", "}", shown)
    text = re.sub(rf"(?<=[:\[,])(\s*){ANYTHING}", rf'\1"{ANYTHING}"', text)
    try:
        came = json.loads(output)
    except json.JSONDecodeError:
        yield f"JSON is shown, {output!r} came"
        return
    yield from _value_differences("", json.loads(text), came)


def _value_differences(path: str, shown: Any, came: Any) -> Iterator[str]:
    if isinstance(shown, dict) and isinstance(came, dict):
        for name, value in shown.items():
            if name in came:
                yield from _value_differences(f"{path}.{name}", value, came[name])
            else:
                yield f"{path}.{name} is shown, only {sorted(came)} came"
    elif isinstance(shown, list) and isinstance(came, list):
        kept = shown[:-1] if shown[-1:] == [ANYTHING] else shown
        if len(kept) > len(came) or (kept is shown and len(shown) != len(came)):
            yield f"{path} has {len(shown)} members as shown, {len(came)} came"
        for index, (value, other) in enumerate(zip(kept, came, strict=False)):
            yield from _value_differences(f"{path}[{index}]", value, other)
    elif not _same(path, shown, came):
        yield f"{path} is {shown!r} as shown, {came!r} came"


def _same(path: str, shown: Any, came: Any) -> bool:
    if isinstance(shown, str):
        return shown == ANYTHING or (isinstance(came, str) and _spelled(shown, came))
    if type(shown) is bool or type(came) is bool or shown is None:
        return shown is came
    if not isinstance(shown, int | float) or not isinstance(came, int | float):
        return False
    return bool(_MOVING.search(path)) or abs(shown - came) < (0.01 if isinstance(shown, float) else 1)


def _spelled(shown: str, came: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split(ANYTHING))), came, re.DOTALL) is not None


def _line_differences(shown: str, output: str) -> Iterator[str]:
    lines = iter(output.splitlines())
    for line in shown.splitlines():
        if not any(_alike(line, came) for came in lines):
            yield f"{line!r} is shown, but no such line came (any more) in {output!r}"
            return


def _alike(shown: str, came: str) -> bool:
    """Return True if two lines agree but for numbers, spaces, and what is shown as anything."""
    return _spelled(_levelled(shown), _levelled(came))


def _levelled(line: str) -> str:
    return re.sub(r"\d+", "0", " ".join(line.split()))
