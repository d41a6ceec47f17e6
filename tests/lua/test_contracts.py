"""Every script keeps the contract that its header states, and the checks can tell when one does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lua import contract
from tests.lua.checks import library_complaints, script_complaints
from tollhouse.limits.algorithms.counters import AHEAD_MS_MAX
from tollhouse.limits.algorithms.evaluate import HOLDS_MAX, LIFETIME_MS_MAX

pytestmark = pytest.mark.project

SCRIPTS = contract.sources()
LIBRARIES = contract.libraries()
TESTS = Path(__file__).parents[1]

GOOD = """\
-- limits/sample.lua: add to a sum, and give it back; above the most it may be, nothing is written.
--
-- A paragraph of prose may follow.
--
-- KEYS[1]  sum         string
-- KEYS[2i..2i+1]       strings; two of each
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  most        integer >= 1; a text that is long enough
--                      to go on in the next line
-- ARGV[3]  label       text, 1..8 characters
-- returns  {sum}
-- expires  sum after a minute
-- cost     O(1), 2 commands
-- idempotent no
-- flags    none
--#include lib/now.lua

local sum, label = KEYS[1], ARGV[3]
local now_ms, most = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

local found = tonumber(redis.call('GET', sum) or 0)

if found >= most then return {found, now_ms} end

for i = 1, (#KEYS - 1) / 2 do
  redis.call('SET', KEYS[2 * i], label, 'PX', 60000)
  redis.call('DEL', KEYS[2 * i + 1])
end
return {redis.call('INCR', sum)}
"""

WRONG = [
    ("-- limits/sample.lua: add", "-- limits/other.lua: add", "the first line is"),
    ("nothing is written.\n", "nothing is written\n", "the first line is"),
    ("-- KEYS[1]  sum ", "-- KEYS[4]  sum ", "has no gap or double"),
    ("-- ARGV[3]  label", "-- ARGV[4]  label", "has no gap or double"),
    ("-- ARGV[3]  label", "-- ARGV[x]  label", "write 2, 3i+1"),
    ("KEYS[2i..2i+1]", "KEYS[2i..3i+1]", "both ends of a range"),
    ("-- cost     O(1), 2 commands\n", "", "does not say cost"),
    ("-- returns  {sum}\n", "-- answers  {sum}\n", "is no slot, field or indented"),
    ("-- flags    none\n", "-- flags    none\n-- flags    none\n", "each field once"),
    ("-- flags    none\n", "-- flags    sometimes\n", "are unknown"),
    ("-- flags    none\n", "-- flags    no-writes\n", "writes by DEL, INCR, SET"),
    (
        "-- flags    none\n",
        "-- flags    none\n-- twin     keys.py: juggle\n",
        "twin 'juggle' is not defined",
    ),
    ("-- idempotent no\n", "-- idempotent perhaps\n", "neither yes nor no"),
    ("-- ARGV[1]  now_ms", "-- ARGV[1]  moment", "ARGV[1] is not `now_ms  integer`"),
    ("--#include lib/now.lua", "--#include lib/then.lua", "included, but not there"),
    ("--#include lib/now.lua", "--#include lib/now.lua\n--#include lib/now.lua", "at most once"),
    ("--#include lib/now.lua\n", "", "reads ['clock']"),
    ("local sum, label = KEYS[1], ARGV[3]", "local label, sum = KEYS[1], ARGV[3]", "is sum in the header"),
    ("tonumber(ARGV[2])", "ARGV[2]", "ARGV[2] is a number"),
    (", most = clock(tonumber(ARGV[1])), tonumber(ARGV[2])", " = clock(tonumber(ARGV[1]))", "ARGV[2] is not bound"),
    ("label = KEYS[1], ARGV[3]", "label, more = KEYS[1], ARGV[3], ARGV[4]", "ARGV[4] is read, but"),
    ("if found >= most", "if found >= tonumber(ARGV[2])", "ARGV[2] is read after"),
    ("KEYS[2 * i + 1]", "KEYS[2 * i + 2]", "KEYS[2 * i + 2] gives [4, 6, 8]"),
    ("KEYS[2 * i + 1]", "KEYS[2 * i]", "KEYS[2i+1] is never read"),
    ("for i = 1,", "for i = 0,", "gives [0, 2, 4]"),
    ("KEYS[2 * i]", "KEYS[2 * j]", "gives no known indices"),
    ("'PX', 60000", "#ARGV, 60000", "ARGV is used whole"),
    ("local found", "found", "writes the globals ['found']"),
    ("found >= most then", "found >= most the", "does not compile"),
    ("redis.call('GET', sum)", "redis.call('TIME')[1]", "only lib/now.lua"),
    ("redis.call('GET', sum)", "redis.call('KEYS', '*')[1]", "only the keys that are given"),
    ("redis.call('GET', sum)", "redis.call(label, sum)", "name each command in place"),
    ("redis.call('GET', sum)", "math.random(9)", "randomness as an argument"),
    ("redis.call('GET', sum)", "redis.sha1hex(sum)", "every server and fakeredis"),
    ("'PX', 60000", "'PXAT', now_ms + 60000", "relative PX or PEXPIRE"),
    ("return {found, now_ms}", "return found and 1 or cjson.encode({now_ms})", "damages large numbers"),
    ("return {found, now_ms}", "return nil", "else than a flat array"),
    ("return {found, now_ms}", "return {found, {now_ms}}", "else than a flat array"),
    ("return {redis.call('INCR', sum)}", "return redis.call('INCR', sum)", "else than a flat array"),
    ("local found", "\n" * 60 + "local found", "70 is the stop"),
]

WRONG_LIBRARIES = [
    ("-- lib/twice.lua: double a number\n", "the first line is"),
    ("-- lib/twice.lua: double a number.\nlocal two = 2\n", "exactly one local function"),
    ("-- lib/twice.lua: double it.\nlocal two = 2\nlocal function twice(x)\n  return two * x\nend\n", "outside"),
    ("-- lib/twice.lua: double it.\nlocal function twice()\n  return 2 * ARGV[1]\nend\n", "reads KEYS or ARGV"),
    ("-- lib/twice.lua: double it.\nlocal function twice()\n  return redis.call('TIME')\nend\n", "only lib/now.lua"),
    ("-- lib/twice.lua: double it.\nlocal function twice()\n  return math.random()\nend\n", "randomness"),
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_keeps_the_contract_of_its_header(name: str) -> None:
    """Header, arguments, includes, commands, flags, twin, globals and length of a script are as its header says."""
    assert script_complaints(name, SCRIPTS[name]) == []


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_shared_file_holds_one_function_of_its_arguments(name: str) -> None:
    """A file in lib says what it does and holds one local function, which reads nothing but its arguments."""
    assert library_complaints(name, LIBRARIES[name]) == []


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_shared_function_is_shared(name: str) -> None:
    """Every file in lib is included by at least one script."""
    assert [script for script, source in SCRIPTS.items() if f"--#include {name}\n" in source]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_specification_names_the_script(name: str) -> None:
    """Every script is named, as feature/verb, in a specification, a model or a test of failures."""
    texts = [
        path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py") if path.parent.name not in ("lua", "project")
    ]

    assert any(name in text for text in texts)


def test_the_scripts_of_limits_and_their_twins_have_the_same_bounds() -> None:
    """The bounds of stored times, of lifetimes and of the holds of a key are the same in Lua and Python.

    The other numbers divide the 16 digits of a window, and bound what a double counts exactly.
    """
    files = [
        *contract.LUA.glob("limits/*.lua"),
        *contract.LUA.glob("lib/limit_*.lua"),
        *contract.LUA.glob("lib/lease_*"),
    ]
    code = "\n".join(re.sub("--.*", "", file.read_text(encoding="utf-8")) for file in files)

    numbers = {int(number) for number in re.findall(r"\b[0-9]{5,}\b", code)}
    assert numbers - {10**15, 1 << 22, 1 << 30, 3 << 20, 1 << 53} == {AHEAD_MS_MAX, LIFETIME_MS_MAX}
    assert re.findall(r"holds\.number >= ([0-9]+)", code) == [str(HOLDS_MAX)]


def test_the_table_of_scripts_is_up_to_date() -> None:
    """The page lua/README.md is what `python -m tests.lua.contract` writes."""
    assert (contract.LUA / "README.md").read_text(encoding="utf-8") == contract.table()


def test_a_good_script_has_no_complaint() -> None:
    """The sample that the wrong ones are made from keeps every rule."""
    assert script_complaints("limits/sample", GOOD) == []


@pytest.mark.parametrize(("old", "new", "expected"), WRONG, ids=[row[2] for row in WRONG])
def test_a_broken_rule_is_noticed(old: str, new: str, expected: str) -> None:
    """Each rule of the contract has a script that breaks it and is found out."""
    assert GOOD.count(old) == 1

    complaints = script_complaints("limits/sample", GOOD.replace(old, new))

    assert any(expected in complaint for complaint in complaints), complaints


@pytest.mark.parametrize(("source", "expected"), WRONG_LIBRARIES, ids=[row[1] for row in WRONG_LIBRARIES])
def test_a_broken_rule_of_shared_files_is_noticed(source: str, expected: str) -> None:
    """Each rule for lib has a file that breaks it and is found out."""
    complaints = library_complaints("lib/twice.lua", source)

    assert any(expected in complaint for complaint in complaints), complaints


def test_an_open_slot_takes_the_rest() -> None:
    """A header that ends with an open slot lets the script walk the rest of the arguments with a cursor."""
    source = GOOD.replace(
        "-- ARGV[3]  label", "-- ARGV[3]  label\n-- ARGV[4..]            labels\n-- ARGV[..]             and more\n--"
    )
    source = source.replace("label, 'PX'", "label .. ARGV[#ARGV - i], 'PX'")

    assert script_complaints("limits/sample", source) == []
