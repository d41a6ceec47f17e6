"""What is built and installed is what the tree says, and installing names packages, never addresses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.imports import ROOT, SERVICE, package_imports

pytestmark = pytest.mark.project

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
ASKED_FOR = frozenset({"fakeredis", "fastapi", "starlette"})
"""What only those need who name it: `fake://`, which says so when it is missing, and `tollhouse.fastapi`."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SKIPPED_FOLDERS = frozenset({".git", "__pycache__", ".hypothesis", ".ruff_cache", ".pytest_cache", "build", "dist"})
REGISTRIES = tuple(
    ".".join(parts) for parts in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com")]
)
PIN = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)(?:; (.+))?")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree, built in this process and so without the network."""
    path = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]))
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The names in the source distribution, below its one folder."""
    path = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("sdist"))))
    with tarfile.open(path) as archive:
        return frozenset(name.partition("/")[2] for name in archive.getnames())


def test_the_wheel_holds_the_package_and_the_scripts(wheel: zipfile.ZipFile) -> None:
    """A wheel holds every module, py.typed and, as tollhouse/lua, every script; nothing else of the tree (C-3)."""
    code = {f"tollhouse/{path.relative_to(SERVICE / 'tollhouse').as_posix()}" for path in _files(SERVICE / "tollhouse")}
    scripts = {f"tollhouse/lua/{path.relative_to(ROOT / 'lua').as_posix()}" for path in _files(ROOT / "lua")}

    names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert names == code | scripts
    assert {"tollhouse/py.typed", "tollhouse/lua/lib/now.lua"} <= names


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    """Installing gives the command `tollhouse`, which is the main function of the package."""
    entry_points = next(name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))

    assert wheel.read(entry_points).decode().split() == [
        "[console_scripts]",
        "tollhouse",
        "=",
        "tollhouse.__main__:main",
    ]


def test_the_demo_runs_from_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """What the wheel holds, and not the checkout, is enough for the demo: it ends with exit code 0."""
    wheel.extractall(tmp_path / "site")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    where = [sys.executable, "-c", "import tollhouse.scripts as s; print(s.__file__); print(s.find_lua())"]

    found = subprocess.run(where, env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    done = subprocess.run([sys.executable, "-m", "tollhouse", "demo"], env=env, cwd=tmp_path, check=False, timeout=60)

    assert found == [str(tmp_path / "site/tollhouse/scripts.py"), str(tmp_path / "site/tollhouse/lua")]
    assert done.returncode == 0


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
    """Whatever the package imports comes with Python, or is declared as a dependency or in the extra demo."""
    declared = {canonicalize_name(Requirement(text).name) for text in [*PROJECT["dependencies"], *EXTRAS["demo"]]}
    outside = {name.partition(".")[0] for names in package_imports().values() for name in names}
    owners = packages_distributions()

    undeclared = {
        name
        for name in outside - sys.stdlib_module_names - {"tollhouse", "compression"} - ASKED_FOR
        if not declared & {canonicalize_name(owner) for owner in owners.get(name, [])}
    }

    assert undeclared == set()


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


def _pins() -> list[tuple[str, str, str]]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    matches = [match for line in text.splitlines() if (match := PIN.fullmatch(line))]
    return [(canonicalize_name(match[1]), match[2], match[3] or "") for match in matches]


def _applies(marker: str, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    return not marker or Marker(marker).evaluate(environment)


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.relative_to(ROOT).parts[0].startswith(".venv")
        and not SKIPPED_FOLDERS.intersection(path.relative_to(ROOT).parts)
    ]


def _texts() -> Iterator[tuple[str, str]]:
    for path in _files(ROOT):
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
