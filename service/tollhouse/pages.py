"""The pages of `docs`, which come with the package, so that an error can name one that its reader has."""

from __future__ import annotations

from pathlib import Path


def page_path(name: str, package: Path = Path(__file__).parent) -> Path:
    """Return the path of a page: inside the installed package, or at the root of a checkout."""
    installed = package / "docs" / f"{name}.md"
    return installed if installed.exists() else package.parents[1] / "docs" / f"{name}.md"
