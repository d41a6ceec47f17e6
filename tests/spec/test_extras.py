"""What is said about a part whose packages are not installed."""

from __future__ import annotations

from tollhouse.extras import not_installed, pip_line


def test_an_error_about_a_missing_package_has_the_pip_line() -> None:
    """The error is one of imports, so that `except ImportError` goes on to work; it names part, module and remedy."""
    error = not_installed("tollhouse.litestar", "tollhouse[service]", ModuleNotFoundError("?", name="litestar"))

    assert error.name == "litestar"
    assert str(error) == "tollhouse.litestar needs litestar: pip install 'tollhouse[service]'"


def test_a_pip_line_is_quoted_for_a_shell() -> None:
    """Brackets are quoted: some shells take them for a pattern of file names."""
    assert pip_line("tollhouse[demo]") == "pip install 'tollhouse[demo]'"
