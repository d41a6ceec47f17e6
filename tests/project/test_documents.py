"""What the documents show is run, and what they link to is there.

How to write a page so that this test can read it:

All of it is run as a newcomer would, in environments that have what the text installs and nothing else.

- A ```console block is run. A line that starts with `$ ` is a command (a backslash at its end continues it); the lines
  below it, up to the next command, are what it prints. All blocks of a page run in order in one bash, in an empty
  folder, so that `KEY=...` in one command is there in the next. `tollhouse`, as `make serve` installs it, `curl` and
  whatever else the machine has can be used. Every command has to end with status 0.
- `$ make serve` (or `$ tollhouse serve ...`) stands for the service that this test starts before the first command, on
  a free port; write addresses with 127.0.0.1:8000, they are replaced in commands and put back in output. Settings in
  front, as in `$ TOLLHOUSE_SERVICE_KEY=a-key make serve`, are given to that service alone. `$ make demo` runs the demo.
  Other `$ make ...` lines only have to name a target, and show nothing.
- Shown output is compared loosely. `…` stands for anything: a whole line, part of a line, part of a JSON text or any
  JSON value. In text, numbers and the width of spaces may differ, and lines may be left out. Of an HTTP response
  (`curl -i`) the status and the headers that are shown have to come, `X-Cache` exactly; the body may be left out. In
  JSON the members that are shown have to come, with their values, except numbers under names in `_ms`, `_s` or `_at`.
- A ```python block is run as a file of its own; addresses of servers in it are replaced by embedded://.
- A ```sh block is for what needs the network or another machine and is not run: git, cd, pipx, uv, docker. Its lines
  `pip install ...` are run: the programs below find what README's first one and those above them on the page brought.
- Blocks of other languages (text, toml, json, yaml, ini, nginx) are shown as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.project import settings_page
from tests.project.console import Command, blocks, commands, differences, languages, run, steps
from tests.project.environments import Environments
from tests.project.imports import ROOT

pytestmark = pytest.mark.project

PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "lua").glob("*.md")]
]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
FIRST_LINE = next(line for block in blocks(TEXTS["README.md"], "sh") for line in block.splitlines())
SESSIONS = {
    page: [command for block in found for command in commands(block)]
    for page, text in TEXTS.items()
    if (found := blocks(text, "console"))
}
"""The pages that show commands, and what they show."""
NOT_RUN = frozenset({"text", "toml", "json", "yaml", "ini", "nginx"})
NEEDS_NETWORK = frozenset({"cd", "docker", "git", "pip", "pipx", "uv"})
WRITTEN_ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|localhost):8000\b")
STORE_ADDRESS = re.compile(r"\"(?:rediss?|valkeys?|unix)(?:\+\w+)?://[^\"]*\"")
SERVE = re.compile(r"((?:[A-Z_]+=\S+ )*)(?:make serve|tollhouse serve\b ?(.*))")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path, for the commands and for the run-time files of the service."""
    path = Path(tempfile.mkdtemp(prefix="th-"))
    yield path
    shutil.rmtree(path)


def test_the_readme_shows_commands() -> None:
    """The page has a first session to follow, and a program to start from."""
    assert SESSIONS["README.md"]
    assert blocks(TEXTS["README.md"], "python")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_nothing_that_is_not_run(page: str) -> None:
    """Each block of a page is run, or is of a kind that cannot be."""
    text = (ROOT / page).read_text(encoding="utf-8")
    first_words = {line.split()[0] for block in blocks(text, "sh") for line in block.splitlines() if line.strip()}

    assert languages(text) <= {"console", "python", "sh", *NOT_RUN}
    assert first_words <= NEEDS_NETWORK


@pytest.mark.skipif(shutil.which("curl") is None and "CI" not in os.environ, reason="the pages call curl: install it")
@pytest.mark.parametrize("page", SESSIONS)
def test_a_page_does_what_it_shows(page: str, folder: Path, environments: Environments) -> None:
    """Every command of the page succeeds, against a service started as the page says, and prints what is shown."""
    shown = SESSIONS[page]
    settings, options = _serve_line(shown)
    installed = environments.after(_line_of_make()).commands
    environment = _newcomer(installed, folder)
    log = folder / "serve.log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [installed / "tollhouse", "serve", *options, "--port", "0"],
            env={**environment, **settings, "PYTHONUNBUFFERED": "1"},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = _wait_for_address(service, log)
        found = _differences_of_session(shown, address, log, folder, environment)
    finally:
        service.send_signal(signal.SIGTERM)
        status = service.wait(timeout=30)

    assert not found, "\n".join(found)
    assert status == 0


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if blocks(text, "python")])
def test_the_programs_of_a_page_run(page: str, folder: Path, environments: Environments) -> None:
    """S2-01: a program of a page, or a recipe, runs as a file with what the text has installed so far, unwarned."""
    lines = [line for language, block in steps(TEXTS[page], "sh") for line in _install_lines(language, block)]
    environment = environments.new() if lines else environments.after(FIRST_LINE)
    if lines and lines[0] != FIRST_LINE:
        environment.run(FIRST_LINE)

    for language, block in steps(TEXTS[page], "sh", "python"):
        for line in _install_lines(language, block):
            environment.run(line)
        if language == "python":
            _run_program(block, environment.commands, folder)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda path: f"{path.parent.name}.{path.stem}"
)
def test_an_example_has_what_its_text_installs(path: Path, folder: Path, environments: Environments) -> None:
    """The install line of an example brings what it imports, and the server that it is run with."""
    text = path.read_text(encoding="utf-8")
    (line,) = re.findall(r"`(pip install .*)`", text)
    installed = environments.after(line).commands

    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    command = [installed / "python", "-W", "error", "-c", f"import {module}"]
    imported = subprocess.run(
        command, env=_newcomer(installed, folder), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert imported.returncode == 0, imported.stderr
    assert (installed / "uvicorn").exists() or "uvicorn" not in text


def test_the_first_install_line_is_that_of_the_library() -> None:
    """README installs the package alone before anything else: the pages of docs build on it."""
    assert FIRST_LINE == "pip install ./tollhouse"


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_tree_lead_somewhere(page: str) -> None:
    """A link to a file, or to a heading, leads to one that is there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [first or second for first, second in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
    broken = [target for target in targets if not re.match(r"https?:|mailto:", target) and not _leads(page, target)]

    assert broken == []


def test_decision_records_are_numbered_in_a_row() -> None:
    """Each record has a number of its own, none is left out, and its title begins with it."""
    records = sorted((ROOT / "docs/adr").glob("*.md"))

    assert [path.name[:5] for path in records] == [f"{number:04}-" for number in range(1, len(records) + 1)]
    for number, path in enumerate(records, start=1):
        assert path.read_text(encoding="utf-8").startswith(f"# {number}. ")


def test_the_index_of_the_documents_names_every_page() -> None:
    """Each page in docs stands in docs/README.md."""
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")

    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"]({page.name})" not in index] == ["README.md"]


def _install_lines(language: str, block: str) -> list[str]:
    return [line for line in block.splitlines() if language == "sh" and line.startswith("pip install ")]


def _run_program(source: str, installed: Path, folder: Path) -> None:
    program = folder / "program.py"
    program.write_text(STORE_ADDRESS.sub('"embedded://"', source), encoding="utf-8")
    finished = subprocess.run(
        [installed / "python", "-W", "error", program],
        env=_newcomer(installed, folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, ""), source


def _line_of_make() -> str:
    """Return the install line behind `make serve`."""
    rule = re.search(r"/\.run:.*?--editable '\.(\[\w+\])'", (ROOT / "Makefile").read_text("utf-8"), re.DOTALL)
    assert rule is not None
    return f"pip install './tollhouse{rule[1]}'"


def _newcomer(installed: Path, folder: Path) -> dict[str, str]:
    """Return what a reader of a page has set: nothing of Tollhouse, of this Python, or of the environment of tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLHOUSE_", "PYTHON"))}
    path = [each for each in kept.pop("PATH", os.defpath).split(os.pathsep) if not each.startswith(sys.prefix)]
    own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "COLUMNS": "120", "NO_COLOR": "1"}
    return {**kept, **own, "PATH": os.pathsep.join([str(installed), *path])}


def _serve_line(shown: list[Command]) -> tuple[dict[str, str], list[str]]:
    """Return the settings and the options of the service that the page starts; there is one such line at most."""
    lines = [match for command in shown if (match := SERVE.fullmatch(command.line))]
    assert len(lines) <= 1
    if not lines:
        return {}, ["--plain-http"]
    settings = dict(pair.split("=", 1) for pair in lines[0][1].split())
    return settings, (["--plain-http"] if lines[0][2] is None else lines[0][2].split())


def _wait_for_address(service: subprocess.Popen[bytes], log: Path) -> str:
    """Return host:port of the service, which it prints when it is ready."""
    while (match := re.search(r"http://([\w.:\[\]]+:\d+)", log.read_text(encoding="utf-8"))) is None:
        assert service.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.02)
    with urlopen(f"http://{match[1]}/readyz", timeout=30):
        return match[1]


def _differences_of_session(
    shown: list[Command], address: str, log: Path, folder: Path, environment: dict[str, str]
) -> list[str]:
    others = [command for command in shown if not SERVE.fullmatch(command.line)]
    ran = run([WRITTEN_ADDRESS.sub(address, _as_run(command.line)) for command in others], folder, environment)
    outputs = [(command, one.output) for command, one in zip(others, ran, strict=True)]
    outputs += [(command, log.read_text(encoding="utf-8")) for command in shown if SERVE.fullmatch(command.line)]
    failed = [
        f"{command.line}: exit status {one.status}" for command, one in zip(others, ran, strict=True) if one.status
    ]
    return failed + [
        f"{command.line}: {difference}"
        for command, output in outputs
        for difference in differences(command.shown, output.replace(address, "127.0.0.1:8000"))
    ]


def _as_run(line: str) -> str:
    """Translate the lines that call make: the targets are not made, the commands behind them are run."""
    if line == "make demo":
        return "tollhouse demo"
    return f"make --dry-run --directory {ROOT} {line.split()[1]} > /dev/null" if line.startswith("make ") else line


def _leads(page: str, target: str) -> bool:
    name, _, heading = target.partition("#")
    path = ROOT / page if not name else (ROOT / page).parent / name
    if not heading:
        return path.exists()
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_page_of_settings_is_that_of_the_settings() -> None:
    """docs/settings.md has a row for each setting, as the settings themselves describe it."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page.page()
