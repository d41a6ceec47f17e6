"""`tollhouse cache warm`: results that are in the cache before they are asked for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import Progress
from rich_click import RichCommand

from tollhouse.ai.canonical import beginning, parse
from tollhouse.ai.models import Models
from tollhouse.app import installed_models
from tollhouse.cache.reading.read_many import ManyOutcome
from tollhouse.cache.warming.bounded import AT_ONCE_MAX, Positions, warm_items
from tollhouse.cache.warming.key_list import not_stored
from tollhouse.caching.decorators import function_cache
from tollhouse.caching.warming import outcome_of_call
from tollhouse.cli.models import search_working_folder
from tollhouse.cli.query import CONFIG, JSON, cache_of, print_line, print_result, query
from tollhouse.errors import InvalidInput
from tollhouse.http.ai import TENANT
from tollhouse.settings import Settings
from tollhouse.wiring import Tollhouse
from tollhouse.wiring.current import CURRENT
from tollhouse.wiring.models import named_function

LINE_BYTES_MAX: Final = 1024 * 1024

WarmOne = Callable[[bytes], Awaitable[ManyOutcome]]
"""Reads the result for the text of one line."""


class WarmedLines(Struct, frozen=True, kw_only=True):
    """The output of `warm --json`: how many lines came to what."""

    present: int
    loaded: int
    unstored: int
    failed: int


@click.command("warm", cls=RichCommand)
@click.argument("target", metavar="TARGET")
@click.option("--from", "path", required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--at-once", type=click.IntRange(1, AT_ONCE_MAX), default=8, show_default=True, help="Loads in progress.")
@CONFIG
@JSON
def warm(*, target: str, path: str, at_once: int, config: Path | None, as_json: bool) -> None:
    """Cache the results of a list, unless they are cached: exit code 0, or 1 if a line failed.

    TARGET is a model, or a cached function such as package.module:function. The file, or standard input for `-`, has a
    JSON value on each line: the input of the model, or a list or an object of the arguments of the function. Lines that
    fail are told with their numbers, and the others go on. A function without `cache=` uses the cache of the settings.
    """

    async def ask(tollhouse: Tollhouse) -> tuple[WarmedLines, str]:
        CURRENT.set(_Command(tollhouse))
        one = _call_of(target) if ":" in target else _answer_of(tollhouse, target)
        with click.open_file(path, "rb") as file, _Display(None if as_json or path == "-" else Path(path)) as display:
            lines = _Lines(file, display)
            report = await warm_items(lines.read(), lambda line: _outcome(one, *line), at_once, display.fail)
        found = WarmedLines(
            present=report.present,
            loaded=report.loaded,
            unstored=report.unstored,
            failed=report.failed + lines.refused,
        )
        return found, cache_of(tollhouse)

    search_working_folder()
    found, place = query(config, ask, models=_no_models if ":" in target else installed_models)
    print_result(found, lambda found: _show(found, place), as_json=as_json)
    sys.exit(1 if found.failed else 0)


async def _outcome(one: WarmOne, number: int, text: bytes) -> Positions:
    (outcome,) = await asyncio.gather(one(text), return_exceptions=True)
    return [(number, outcome)]


def _call_of(target: str) -> WarmOne:
    """Return what caches the result of a call of a function."""
    own = function_cache(named_function("TARGET", target))

    async def one(text: bytes) -> ManyOutcome:
        try:
            call = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput("line", beginning(text), f"give one JSON value ({error})") from error
        return await outcome_of_call(own, call)

    return one


def _answer_of(tollhouse: Tollhouse, model: str) -> WarmOne:
    """Return what caches the output of a model; raise InvalidInput if there is no such model."""
    tollhouse.models.find(model)

    async def one(text: bytes) -> ManyOutcome:
        if not tollhouse.cache.is_available:
            return not_stored()
        return await tollhouse.results.answer(model, parse(text), tenant=TENANT)

    return one


class _Command:
    """The request of this command: functions without `cache=` use its Tollhouse."""

    def __init__(self, tollhouse: Tollhouse) -> None:
        self.source = self
        self.loop = asyncio.get_running_loop()
        self._tollhouse = tollhouse

    async def tollhouse(self) -> Tollhouse:
        return self._tollhouse


class _Display:
    """Shows the progress on a terminal, and what failed, on standard error."""

    def __init__(self, file: Path | None) -> None:
        self._console = Console(stderr=True)
        self._stack = ExitStack()
        self._progress = Progress(console=self._console, transient=True, disable=not self._console.is_terminal)
        size = None if file is None else file.stat().st_size
        self._task = self._progress.add_task("warming", total=size)

    def __enter__(self) -> _Display:
        self._stack.enter_context(self._progress)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def advance(self, size: int) -> None:
        """Show that so many bytes more have been read."""
        self._progress.advance(self._task, size)

    def fail(self, number: int, error: BaseException) -> None:
        """Print why a line failed."""
        kind = "" if isinstance(error, InvalidInput) else f"{type(error).__name__}: "
        print_line(self._console, f"line {number}: {kind}{error}")


class _Lines:
    """The lines of a file, read in a thread one after the other; blank ones are left out."""

    def __init__(self, file: IO[bytes], display: _Display) -> None:
        self.refused = 0
        self._file = file
        self._display = display

    async def read(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield each line with its number; one above the bound is told, and skipped."""
        number = 0
        while line := await asyncio.to_thread(self._file.readline, LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                self.refused += 1
                remedy = f"give at most {LINE_BYTES_MAX} bytes on a line"
                self._display.fail(number, InvalidInput("line", beginning(line), remedy))
                while line and not line.endswith(b"\n"):
                    line = await asyncio.to_thread(self._file.readline, LINE_BYTES_MAX)
                continue
            self._display.advance(len(line))
            if text := line.strip():
                yield number, text


def _no_models(settings: Settings) -> Models:
    """Return none: a function is warmed whatever models the settings have."""
    del settings
    return Models()


def _show(found: WarmedLines, place: str) -> None:
    console = Console()
    print_line(console, f"loaded: {found.loaded:,}; present: {found.present:,}: {place}")
    if found.unstored or found.failed:
        print_line(console, f"not stored: {found.unstored:,}; failed: {found.failed:,}")
