"""Fixtures of every test: one real Valkey for each process of the run, and the worlds; and the markers that follow."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.worlds import StoreWorld, embedded_world, fake_world
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.wiring import embedded_binary

_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("ci", max_examples=200, deadline=None, suppress_health_check=_QUIET, print_blob=True)
settings.register_profile("long", max_examples=2_000, deadline=None, suppress_health_check=_QUIET, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


SERVERS = frozenset({"embedded", "fake", "valkey_socket", "world"})
CLUSTERS = frozenset({"test_compose", "test_drill", "test_locator", "test_sentinel_cluster", "test_serve_ha"})
"""Modules whose tests start Sentinels or a drill, which watch the clock: one worker runs them, one after the other."""
SERVICES = frozenset(
    {
        "test_cli_limits",
        "test_demo",
        "test_documents",
        "test_login_example",
        "test_packaging",
        "test_reload_served",
        "test_serve",
        "test_socket",
    }
)
"""Modules whose tests start the service; another worker runs them, so that both finish at about the same time."""

REPEATING = frozenset({"lua", "models", "project"})
"""Folders whose tests run lines of the package that others run too, or none: counting lines would double their time."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, what fakeredis repeats, and what starts processes."""
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())) or "failures" in item.path.parts:
            item.add_marker("server")
        if (calls := getattr(item, "callspec", None)) is not None and "fake" in calls.params.values():
            item.add_marker("fake")
        if item.get_closest_marker("fake") is not None or REPEATING.intersection(item.path.parts):
            item.add_marker("no_cover")
        clusters = item.path.stem in CLUSTERS or item.get_closest_marker("sentinel") is not None
        if clusters or item.path.stem in SERVICES:
            item.add_marker("processes")
            item.add_marker(pytest.mark.xdist_group("clusters" if clusters else "services"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in what a test logged or printed: workers send reports as UTF-8."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Collect what a failed test left open, and ignore the warnings of that: they would fail a test that runs later."""
    failed = item.session.testsfailed
    result = yield
    if item.session.testsfailed > failed:
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):  # which keep the frames of the test
            vars(sys).pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return result


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failed test at once: a run that is ended from outside never prints its summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stderr.write(f"\n{report.when} failed: {report.nodeid}\n{report.longreprtext[-4_000:]}\n")


@pytest.fixture(scope="session", autouse=True)
def _runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set XDG_RUNTIME_DIR to a folder of this process alone, so that no other worker's services are found there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """The socket of the one embedded server of this run; TOLLHOUSE_EMBEDDED_BINARY names another program for it."""
    server = EmbeddedServer.start(binary=embedded_binary())
    yield server.socket_path
    server.stop()


@pytest.fixture
async def embedded(valkey_socket: Path) -> AsyncIterator[StoreWorld]:
    """The world on the real server."""
    async with embedded_world(valkey_socket) as world:
        yield world


@pytest.fixture
async def fake() -> AsyncIterator[StoreWorld]:
    """The world on fakeredis."""
    async with fake_world() as world:
        yield world


@pytest.fixture(params=["fake", "embedded"])
async def world(request: pytest.FixtureRequest, valkey_socket: Path) -> AsyncIterator[StoreWorld]:
    """Every world in turn."""
    opened = fake_world() if request.param == "fake" else embedded_world(valkey_socket)
    async with opened as world:
        yield world
