"""Scripts as values: finding them, expanding them, and refusing wrong headers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tollhouse import scripts
from tollhouse.errors import ConfigurationError

HEADER = "-- test/one.lua: do something.\n--\n-- idempotent yes\n-- flags    no-writes allow-oom\n-- twin     x.py: y\n"
BODY = "\n-- why\nlocal now_ms = clock(tonumber(ARGV[1]))\nreturn now_ms\n"
NOW = "-- lib/now.lua: give the time.\nlocal function clock(given_ms)\n  return given_ms\nend\n"


def folder(path: Path, source: str, **libraries: str) -> Path:
    (path / "test").mkdir()
    (path / "lib").mkdir()
    (path / "test" / "one.lua").write_text(source)
    for name, text in {"now": NOW, **libraries}.items():
        (path / "lib" / f"{name}.lua").write_text(text)
    return path


def test_a_script_is_its_expanded_text_with_its_hash(tmp_path: Path) -> None:
    """Servers get the text behind a shebang with its flags, fakeredis the same without; the hash is of the former."""
    found = scripts.load(folder(tmp_path, HEADER + "--#include lib/now.lua\n" + BODY))

    script = found["test/one"]
    expanded = "local function clock(given_ms)\n  return given_ms\nend\n\n"
    plain = expanded + "\nlocal now_ms = clock(tonumber(ARGV[1]))\nreturn now_ms\n"
    assert set(found) == {"test/one"}
    assert script.plain == plain
    assert script.text == "#!lua flags=no-writes,allow-oom\n" + plain
    assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()
    assert script.idempotent


def test_a_script_without_flags_has_a_bare_shebang(tmp_path: Path) -> None:
    """`flags none` means no flag: a server that refuses writes then refuses the script."""
    source = "-- test/one.lua: do something.\n--\n-- idempotent no\n-- flags    none\n\nreturn 1\n"

    script = scripts.load(folder(tmp_path, source))["test/one"]

    assert script.text == "#!lua\nreturn 1\n"
    assert not script.idempotent


#   what the header says of the arguments after the time, the position of PRIMARY, whether one may be large
ARGUMENTS = [
    ("", None, False),
    ("-- ARGV[2]  cost        integer 0..10^9\n-- ARGV[3]  passive     0 or 1; whether it counts\n", None, False),
    (
        "-- ARGV[2]  digest      text, 32 hex digits\n-- ARGV[3..]            per window, up to 8, three numbers\n",
        None,
        False,
    ),
    ("-- ARGV[2]  primary     text; the replication id of the primary\n", 0, False),
    ("-- ARGV[2]  after       text, 1..40 characters\n-- ARGV[3]  primary     text; its id\n", 1, False),
    ("-- ARGV[2]  envelope    text; as it is stored\n", None, True),
    ("-- ARGV[2]  cost        integer\n-- ARGV[3..]            pairs of a name and a value\n", None, True),
]


@pytest.mark.parametrize(("lines", "primary_at", "may_be_large"), ARGUMENTS)
def test_a_header_says_what_a_store_looks_for_in_arguments(
    tmp_path: Path, lines: str, primary_at: int | None, may_be_large: bool
) -> None:
    """Whether the primary is named is known before a call, and whether a value needs the connection for large ones."""
    now = "-- ARGV[1]  now_ms      integer; 0 means the server's clock\n"
    source = HEADER.replace("-- idempotent", now + lines + "-- idempotent") + BODY

    script = scripts.load(folder(tmp_path, source))["test/one"]

    assert (script.primary_at, script.may_be_large) == (primary_at, may_be_large)


def test_the_calls_of_hot_paths_have_no_large_argument() -> None:
    """Takes, verifications, touches and reads of the cache are sent without a look at each argument."""
    found = scripts.load()

    for name in ("limits/take", "sessions/verify", "sessions/touch", "cache/get"):
        assert not found[name].may_be_large


#   what is wrong, the source
REFUSED = [
    ("an include twice", HEADER + "--#include lib/now.lua\n--#include lib/now.lua\n" + BODY),
    ("an include in an include", HEADER + "--#include lib/deep.lua\n" + BODY),
    ("no word on idempotence", "-- test/one.lua: do.\n--\n-- flags    none\n\nreturn 1\n"),
    ("an odd word on idempotence", "-- test/one.lua: do.\n--\n-- idempotent maybe\n-- flags    none\n\nreturn 1\n"),
    ("an unknown flag", "-- test/one.lua: do.\n--\n-- idempotent yes\n-- flags    no-write\n\nreturn 1\n"),
]


@pytest.mark.parametrize(("wrong", "source"), REFUSED)
def test_a_script_that_breaks_the_rules_is_refused(tmp_path: Path, wrong: str, source: str) -> None:
    """An include that is repeated or nested, or an unknown word in the header, is an error."""
    root = folder(tmp_path, source, deep="--#include lib/now.lua\nlocal function deep() end\n")

    with pytest.raises(ConfigurationError) as refused:
        scripts.load(root)

    assert refused.value.setting.startswith("lua")


def test_scripts_that_were_not_installed_are_missed(tmp_path: Path) -> None:
    """Without a folder of scripts, in the package or at the root of the checkout, the error names the package."""
    with pytest.raises(ConfigurationError) as refused:
        scripts.find_lua(tmp_path / "service" / "tollhouse")

    assert (refused.value.setting, refused.value.value) == ("lua", str(tmp_path / "service" / "tollhouse"))


def test_the_installed_folder_is_taken_first(tmp_path: Path) -> None:
    """The folder `lua` in the package is preferred to any other."""
    package = tmp_path / "service" / "tollhouse"
    for root in (package, tmp_path):
        (root / "lua" / "lib").mkdir(parents=True)

    assert scripts.find_lua(package) == package / "lua"
