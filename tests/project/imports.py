"""Finds what each module of the package imports, wherever in the file the import stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
PACKAGE = "tollhouse"

Imports = Mapping[str, frozenset[str]]
"""By module, the dotted names that it imports: cut down to the module if it is one of ours, else as written."""


def package_imports(root: Path = SERVICE) -> Imports:
    """Read every module below `root / tollhouse`."""
    sources = {_module(path.relative_to(root)): path.read_text(encoding="utf-8") for path in _files(root)}
    packages = {_module(path.relative_to(root)) for path in _files(root) if path.name == "__init__.py"}
    return graph(sources, packages)


def graph(sources: Mapping[str, str], packages: set[str]) -> Imports:
    """Find the imports of modules given by name and text; `packages` are those whose file is an `__init__`."""
    return {
        module: frozenset(_known(name, sources) for name in _imported(module, module in packages, text))
        for module, text in sources.items()
    }


def _files(root: Path) -> list[Path]:
    return sorted((root / PACKAGE).rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imported(module: str, is_package: bool, source: str) -> Iterator[str]:
    """Yield `a.b` for `import a.b`, and `a.b.c` for `from a.b import c`, which may be a module or a name in one."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=origin, names=names, level=level):
                parents = module.split(".")[: len(module.split(".")) - level + is_package] if level else []
                base = ".".join([*parents, *([origin] if origin else [])])
                yield from (f"{base}.{name.name}" for name in names)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield name
            case _:
                pass


def _known(name: str, sources: Mapping[str, str]) -> str:
    """Cut the name of something in one of our modules down to the module's."""
    if name.partition(".")[0] != PACKAGE:
        return name
    parts = name.split(".")
    return next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sources), name)
