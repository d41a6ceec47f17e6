"""What is built and installed is what the tree says, and installing names packages, never addresses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.environments import Environments
from tests.project.imports import ROOT, SERVICE, package_imports
from tests.project.layers import room

pytestmark = pytest.mark.project

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PARTS_OF_EXTRAS = {
    "service": frozenset({"__main__", "app", "cli", "http", "litestar", "serving"}),
    "demo": frozenset({"ai"}),
    "test": frozenset({"stores"}),
    "webauthn": frozenset({"accounts"}),
}
"""The parts of the package that may name what an extra brings; each says its pip line if that is missing."""
OF_APPLICATIONS = {"fastapi": ("fastapi", "asgi"), "starlette": ("fastapi", "asgi"), "pydantic": ("caching",)}
"""What `tollhouse.fastapi` needs, and every application has that imports it."""
BARE_MAX = 11
"""Packages that the library may bring along beside itself."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SKIPPED_FOLDERS = frozenset(
    {".git", "__pycache__", ".hypothesis", ".ruff_cache", ".pytest_cache", "build", "dist", "out"}
)
REGISTRIES = tuple(
    ".".join(parts) for parts in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com")]
)
PASSKEYS = """\
from tollhouse import AccountSettings, PasskeySettings, Settings, open

passkeys = PasskeySettings(rp_id="example.com")
open(Settings(accounts=AccountSettings(passkeys=passkeys)))
"""
LIBRARY = """\
import asyncio

import tollhouse


async def main():
    async with tollhouse.open("embedded://", policies={"api": "1/minute"}) as th:
        assert await th.limits.take("api", "ada")
        assert not await th.limits.take("api", "ada")
        issued = await th.sessions.create(user="ada")
        assert (await th.sessions.verify(issued.token)).user == "ada"
        assert await th.cache.get_or_load("key", load, ttl_s=60) == 7
        text, _ = th.metrics.render()
        assert b'tollhouse_ratelimit_decisions_total{outcome="refused",policy="api"} 1.0' in text


async def load():
    return 7


asyncio.run(main())
"""
PIN = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)(?:; (.+))?")


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_file)


@pytest.fixture
def bare(environments: Environments) -> Path:
    """The commands of an environment that has the package alone."""
    return environments.after("pip install ./tollhouse").commands


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The names in the source distribution, below its one folder."""
    path = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("sdist"))))
    with tarfile.open(path) as archive:
        return frozenset(name.partition("/")[2] for name in archive.getnames())


def test_the_wheel_holds_the_package_the_scripts_and_the_pages(wheel: zipfile.ZipFile) -> None:
    """A wheel holds every module, py.typed, every script and every page for users; nothing else of the tree (C-3)."""
    code = {f"tollhouse/{path.relative_to(SERVICE / 'tollhouse').as_posix()}" for path in _files(SERVICE / "tollhouse")}
    scripts = {f"tollhouse/lua/{path.relative_to(ROOT / 'lua').as_posix()}" for path in _files(ROOT / "lua")}
    pages = {f"tollhouse/docs/{path.name}" for path in (ROOT / "docs").glob("*.*")}

    names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert names == code | scripts | pages | {"pytest_tollhouse.py"}
    assert {"tollhouse/py.typed", "tollhouse/lua/lib/now.lua", "tollhouse/docs/settings.md"} <= names


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    """Installing gives the command `tollhouse`, the main function of the package, and pytest finds the plugin."""
    entry_points = next(name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))

    assert wheel.read(entry_points).decode().split() == [
        "[console_scripts]",
        "tollhouse",
        "=",
        "tollhouse.__main__:main",
        "[pytest11]",
        "pytest_tollhouse",
        "=",
        "pytest_tollhouse",
    ]


def test_the_package_alone_is_small(bare: Path) -> None:
    """The package brings the embedded server and what the library calls: nothing of the service, nor a framework."""
    source = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"

    names = {canonicalize_name(name) for name in json.loads(_run(bare / "python", "-c", source).stdout)}

    assert "tollhouse" in names
    assert len(names) <= BARE_MAX + 1
    assert not names & {canonicalize_name(Requirement(text).name) for text in EXTRAS["service"]}


def test_the_package_alone_is_the_library(bare: Path, tmp_path: Path) -> None:
    """S1-04, S1-09, S1-12, S1-34, S2-10: limits, sessions, cache and metrics work on the server that comes along."""
    program = tmp_path / "program.py"
    program.write_text(LIBRARY, encoding="utf-8")

    done = _run(bare / "python", "-W", "error", str(program))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(
    sys.version_info[:2] != (3, int(PYTHONS[0][2:])), reason="old versions have wheels for the oldest Python only"
)
def test_the_oldest_versions_that_are_declared_work(environments: Environments, tmp_path: Path) -> None:
    """The library, `fake://` and the service run on the oldest version of each package that is declared."""
    environment = environments.new()
    oldest = " ".join(f"'{text}'" for text in _oldest("demo", "service", "test"))
    environment.run(f"pip install './tollhouse[demo,test]' {oldest}", constraints=None)

    for url in ("embedded://", "fake://"):
        program = tmp_path / "program.py"
        program.write_text(LIBRARY.replace("embedded://", url), encoding="utf-8")
        done = _run(environment.commands / "python", str(program))
        assert (done.returncode, done.stderr) == (0, "")
    assert _run(environment.commands / "tollhouse", "demo", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("import tollhouse.litestar", "pip install 'tollhouse[service]'"),
        ("import tollhouse.app", "pip install 'tollhouse[service]'"),
        ("import tollhouse.fastapi", "pip install 'fastapi'"),
        ("import tollhouse; tollhouse.open('fake://')", "pip install 'tollhouse[test]'"),
        (PASSKEYS, "pip install 'tollhouse[webauthn]'"),
    ],
)
def test_what_needs_an_extra_has_its_pip_line(source: str, line: str, bare: Path) -> None:
    """A part whose packages are missing raises an error that ends with the command that installs them."""
    done = _run(bare / "python", "-c", source)

    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(line)


def test_an_error_names_a_page_that_its_reader_has(bare: Path) -> None:
    """With the package alone, an error that sends its reader to a page names a file that is there."""
    source = "import sys, tollhouse.settings as s; s.read({'TOLLHOUSE_QQQQQQ': '1'}, None)"

    done = _run(bare / "python", "-c", source)

    (named,) = re.findall(r"(/\S+\.md)", done.stderr.splitlines()[-1])
    assert Path(named).is_relative_to(bare.parent)
    assert Path(named).exists()


@pytest.mark.parametrize("command", [["tollhouse"], ["tollhouse", "serve"], ["python", "-m", "tollhouse", "--help"]])
def test_the_command_without_its_packages_has_the_pip_line(command: list[str], bare: Path) -> None:
    """With the package alone, `tollhouse` is one line with the command that installs the rest: exit code 2."""
    done = _run(bare / command[0], *command[1:])

    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"tollhouse: .*: pip install 'tollhouse\[service\]'\n", done.stderr)


def test_the_demo_does_without_the_model(environments: Environments, tmp_path: Path) -> None:
    """With the extra `service` alone the demo passes; it says what it left out, and how to install that."""
    commands = environments.after("pip install './tollhouse[service]'").commands

    done = _run(commands / "tollhouse", "demo", "--json", cwd=tmp_path)

    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True)
    assert not [step for step in told["steps"] if "model" in step["name"]]
    assert [text.endswith("pip install 'tollhouse[demo]'") for text in told["left_out"]] == [True]


def test_the_source_distribution_can_be_built_and_tested(sdist: frozenset[str]) -> None:
    """A source distribution holds the code, the scripts, the tests and what `make` reads."""
    expected = {"pyproject.toml", "Makefile", "constraints.txt", "CHANGELOG.md", "LICENSE", "README.md"}

    assert expected <= sdist
    assert {"service/tollhouse/py.typed", "lua/lib/now.lua", "tests/project/test_packaging.py"} <= sdist
    assert not [name for name in sdist if name.startswith((".venv", ".git/"))]


def test_the_changelog_tells_of_the_version() -> None:
    """The newest section of CHANGELOG.md is about the version that pyproject.toml names."""
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert sections[0] == PROJECT["version"]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_pin_what_is_declared(python: str) -> None:
    """Each declared dependency is pinned, for every Python it is declared for, at a version that was asked for."""
    pins = {name: version for name, version, marker in _pins() if _applies(marker, python)}
    declared = [
        Requirement(text) for text in [*PROJECT["dependencies"], *(dep for deps in EXTRAS.values() for dep in deps)]
    ]
    declared = [requirement for requirement in declared if requirement.name != PROJECT["name"]]

    for requirement in declared:
        if _applies(str(requirement.marker or ""), python):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement.name


def test_the_constraints_name_each_package_once() -> None:
    """Constraints are lines of `name==version`, perhaps with a marker: no address, no hash, no package twice."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [name for name, _, _ in _pins()]

    assert [line for line in lines if not line.startswith("#") and not PIN.fullmatch(line)] == []
    assert sorted(set(names)) == sorted(names)


def test_what_is_imported_is_declared() -> None:
    """Whatever a module imports comes with Python, is a dependency, or is in an extra that the module is a part of."""
    undeclared = [
        f"{module} imports {name}"
        for module, names in package_imports().items()
        for name in {name.partition(".")[0] for name in names}
        if not _is_declared(name, room(module))
    ]

    assert undeclared == []


def test_every_extra_that_holds_another_names_it() -> None:
    """The demo runs the service; who works on Tollhouse has all that users may have."""
    held = {name: [text for text in deps if text.startswith("tollhouse[")] for name, deps in EXTRAS.items()}

    assert held["demo"] == ["tollhouse[service]"]
    assert held["dev"] == ["tollhouse[demo,test,webauthn]"]


def test_no_text_holds_the_address_of_a_registry() -> None:
    """Packages are found under whatever registry the machine is set up for: no file of the tree names one."""
    naming = [path for path, text in _texts() if any(address in text for address in REGISTRIES)]

    assert naming == []


def test_the_versions_of_python_agree() -> None:
    """The oldest Python is the same in pyproject.toml, its classifiers and the Makefile."""
    listed = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]

    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert tuple(listed) == PYTHONS
    assert " ".join(f"python{version}" for version in reversed(PYTHONS)) in (ROOT / "Makefile").read_text(
        encoding="utf-8"
    )


def _run(program: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program without any variable of Tollhouse or of this Python."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLHOUSE_", "PYTHON"))}
    return subprocess.run(
        [str(program), *arguments], env=environ, cwd=cwd, check=False, capture_output=True, text=True, timeout=60
    )


def _is_declared(name: str, part: str) -> bool:
    if name in sys.stdlib_module_names | {"tollhouse", "compression"}:
        return True
    if name in OF_APPLICATIONS:
        return part in OF_APPLICATIONS[name]
    extras = [extra for extra, parts in PARTS_OF_EXTRAS.items() if part in parts]
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    owners = {canonicalize_name(owner) for owner in _distributions().get(name, [])}
    return bool(declared & owners)


def _oldest(*extras: str) -> list[str]:
    """Return what pins each package that the library and some extras need to the oldest version that is declared."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    declared = [Requirement(text) for text in texts]
    return [
        f"{each.name}=={next(one.version for one in each.specifier if one.operator == '>=')}"
        for each in declared
        if each.name != PROJECT["name"] and _applies(str(each.marker or ""), f"3.{sys.version_info[1]}")
    ]


_distributions = cache(packages_distributions)


def _pins() -> list[tuple[str, str, str]]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    matches = [match for line in text.splitlines() if (match := PIN.fullmatch(line))]
    return [(canonicalize_name(match[1]), match[2], match[3] or "") for match in matches]


def _applies(marker: str, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    return not marker or Marker(marker).evaluate(environment)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.name not in SKIPPED_FOLDERS and not path.name.startswith(".venv"):
            yield from _files(path)


def _texts() -> Iterator[tuple[str, str]]:
    for path in _files(ROOT):
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
