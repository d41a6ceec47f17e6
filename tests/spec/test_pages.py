"""The paths of the pages of the documentation."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.project.imports import ROOT, SERVICE
from tollhouse import pages


def test_a_page_is_found_in_a_checkout() -> None:
    """In a checkout the page is the one that is edited."""
    assert pages.page_path("settings") == ROOT / "docs/settings.md"


def test_a_page_is_found_in_an_installed_package(tmp_path: Path) -> None:
    """An installed package has the pages inside itself."""
    expected = tmp_path / "tollhouse" / "docs" / "settings.md"
    expected.parent.mkdir(parents=True)
    expected.touch()

    assert pages.page_path("settings", tmp_path / "tollhouse") == expected


def test_no_message_names_a_page_by_its_place_in_the_tree() -> None:
    """A text that may reach a user names a page by `pages.page_path`: an installation has no folder `docs`."""
    naming = [
        f"{path.name}: {text}"
        for path in sorted(SERVICE.rglob("*.py"))
        if path.name != "pages.py"
        for text in _messages(ast.parse(path.read_text(encoding="utf-8")))
        if "docs/" in text or "README" in text
    ]

    assert naming == []


def _messages(tree: ast.AST) -> set[str]:
    """Return every text of a module but for its docstrings."""
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    }
