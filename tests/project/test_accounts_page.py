"""docs/accounts.md: its table of rules is that of the code, and its figures are those of the lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.console import blocks
from tests.project.imports import ROOT
from tests.project.throttle_table import table
from tollhouse.accounts.blocklist.filter_format import planned_head
from tollhouse.accounts.blocklist.weakness import RULES, long_passwords
from tollhouse.accounts.blocklist.words import DATA, ranked_passwords
from tollhouse.settings.throttle import ThrottleSettings

pytestmark = pytest.mark.project

PAGE = (ROOT / "docs/accounts.md").read_text(encoding="utf-8")


def test_the_table_of_rules_is_that_of_the_code() -> None:
    """Each rule has its row, in the words of the answer."""
    rows = [f"| `{rule}` | {reason} |" for rule, reason in RULES.items()]

    assert [line for line in PAGE.partition("## Second factors")[0].splitlines() if line.startswith("| `")] == rows


def test_the_lists_have_as_many_passwords_as_the_pages_say() -> None:
    """The counts stand beside the licenses, too."""
    counts = f"{len(ranked_passwords()):,}", f"{long_passwords().head.entries:,}"
    licenses = (DATA / "LICENSES").read_text(encoding="utf-8")

    assert all(count in PAGE and count in licenses for count in counts)


def test_the_table_of_sizes_is_that_of_the_formula() -> None:
    """Bits for each line, and the size for 900 million lines, within what the table rounds."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.endswith("GB |")]

    for share, bits, _, size in rows:
        file_bytes = planned_head(900_000_000, float(share.split()[0])).file_bytes
        assert file_bytes * 8 / 900_000_000 == pytest.approx(float(bits), abs=0.06)
        assert file_bytes / 1e9 == pytest.approx(float(size.removesuffix(" GB")), abs=0.06)
    assert len(rows) == 4


@pytest.mark.asvs("6.1.1")
def test_the_table_of_throttles_is_that_of_the_settings() -> None:
    """Run `python -m tests.project.throttle_table` after a change of them."""
    assert table(ThrottleSettings()) in PAGE


def test_the_table_tells_each_number() -> None:
    """With every number another one, no row of the default is left but that of sign-ups, which has a policy."""
    others = {field: getattr(ThrottleSettings(), field) + 7 for field in ThrottleSettings.__struct_fields__}
    default, changed = (
        table(settings).splitlines()[2:] for settings in (ThrottleSettings(), ThrottleSettings(**others))
    )

    assert set(default) & set(changed) == {default[-1]}


def test_the_store_of_the_page_passes_the_suite(tmp_path: Path) -> None:
    """The program of the page is a module of tests, which run as a reader would run them."""
    (program,) = blocks(PAGE, "python")
    (tmp_path / "test_store.py").write_text(program, encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-k", "asyncio", "test_store.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "14 passed" in ran.stdout
