"""What is public is named in `tollhouse/__init__.py`, and pinned here."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pytest_tollhouse
import tollhouse
from tollhouse import testing

pytestmark = pytest.mark.project

PUBLIC = (
    "ConfigurationError",
    "Decision",
    "HttpResponse",
    "InvalidInput",
    "Issued",
    "Limit",
    "Policy",
    "RateLimitMiddleware",
    "RateLimitRule",
    "RateLimited",
    "Session",
    "Settings",
    "StoreCredentials",
    "StoreUnavailable",
    "Take",
    "Tollhouse",
    "TollhouseError",
    "limit",
    "load_settings",
    "open",
    "rate_limited_response",
)
FOR_TESTS = ("World", "cache_off", "cache_on", "limits_off")
"""What `tollhouse.testing` has for the tests of apps."""
FIXTURES = ("tollhouse_cache", "tollhouse_cache_off", "tollhouse_limits_off", "tollhouse_url", "tollhouse_world")
"""The fixtures of the pytest plugin."""


def test_the_public_names_are_these() -> None:
    """A name becomes public, or stops to be, only together with this list."""
    assert tuple(tollhouse.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(tollhouse, name)] == []


def test_every_public_name_is_documented() -> None:
    """Each public name says in its docstring what a caller may rely on."""
    assert [name for name in PUBLIC if not getattr(tollhouse, name).__doc__] == []


def test_the_names_for_tests_of_apps_are_these() -> None:
    """`tollhouse.testing` and the fixtures of the plugin are public, pinned and documented like the rest."""
    fixtures = {name: value for name, value in vars(pytest_tollhouse).items() if name.startswith("tollhouse_")}

    assert tuple(testing.__all__) == FOR_TESTS
    assert tuple(sorted(fixtures)) == FIXTURES
    assert [name for name in FOR_TESTS if not getattr(testing, name).__doc__] == []
    assert [name for name in FIXTURES if not fixtures[name].__doc__] == []


def test_the_pytest_plugin_loads_nothing_of_the_package() -> None:
    """Loading the plugin, which pytest does in every run of an environment, imports no module of the package."""
    code = "import pytest_tollhouse, sys; sys.exit(any(name.startswith('tollhouse') for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "module",
    [
        "click",
        "fakeredis",
        "fastapi",
        "httptools",
        "litestar",
        "numpy",
        "py3langid",
        "redis",
        "rich",
        "starlette",
        "uvicorn",
        "uvloop",
    ],
)
def test_importing_the_package_loads_no_framework(module: str) -> None:
    """`import tollhouse` in an app of any framework loads neither Litestar nor what only the service needs."""
    code = f"import sys, tollhouse; sys.exit({module!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
