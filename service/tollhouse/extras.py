"""What to install for a part of Tollhouse that needs more than the package brings along."""

from __future__ import annotations


def pip_line(requirement: str) -> str:
    """Return the command that installs a requirement, such as `tollhouse[service]`."""
    return f"pip install '{requirement}'"


def not_installed(part: str, requirement: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the error to raise from `error`: it says which module `part` needs, and the command that installs it."""
    return ModuleNotFoundError(f"{part} needs {error.name}: {pip_line(requirement)}", name=error.name)
