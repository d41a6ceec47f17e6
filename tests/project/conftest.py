"""The wheel of this tree, and the environments that readers make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.project.environments import INSTALL_S, Environments
from tests.project.imports import ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the bound of a test that installs packages to that of several installations."""
    for item in items:
        if "environments" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(3 * INSTALL_S))


@pytest.fixture(scope="session")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built in this process and so without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory, wheel_file: Path) -> Environments:
    """Environments by the lines that make them."""
    return Environments(tmp_path_factory.mktemp("environments"), wheel_file)
