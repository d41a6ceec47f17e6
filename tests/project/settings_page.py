"""Writes docs/settings.md from the settings themselves: python -m tests.project.settings_page > docs/settings.md."""

from __future__ import annotations

from tollhouse.settings import Settings
from tollhouse.settings.leaf import Leaf, leaves

HEAD = """\
# Settings

Every setting, as a variable and as a line of `tollhouse.toml`. A variable wins over the file; `*_FILE` names a file
that holds the value. Aliases, if the variable is not set: `REDIS_URL`, `REDIS_HOST` with `REDIS_PORT`,
`REDIS_PASSWORD` and `REDIS_DB`, `CACHE_ENABLED`, `CACHE_TTL_SECONDS`, `CACHE_KEY_PREFIX`, `CACHE_DEBUG`.
`TOLLHOUSE_CONFIG` names another file, `TOLLHOUSE_EMBEDDED_BINARY` another `valkey-server`.

| variable | in the file | default | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(row(leaf) for leaf in leaves(Settings))


def row(leaf: Leaf) -> str:
    """Return the row of one setting."""
    default = "required" if leaf.is_required else leaf.shown(leaf.default)
    return f"| `{leaf.variable}` | `{leaf.name}` | {default} | {leaf.meaning} |\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - it writes the page
