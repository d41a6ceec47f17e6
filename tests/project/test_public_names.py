"""What is public is named in `tollhouse/__init__.py`, and pinned here."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tollhouse

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


def test_the_public_names_are_these() -> None:
    """A name becomes public, or stops to be, only together with this list."""
    assert tuple(tollhouse.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(tollhouse, name)] == []


def test_every_public_name_is_documented() -> None:
    """Each public name says in its docstring what a caller may rely on."""
    assert [name for name in PUBLIC if not getattr(tollhouse, name).__doc__] == []


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
