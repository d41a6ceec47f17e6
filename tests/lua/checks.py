"""Checks scripts against the house rules; no complaint means that a script keeps its contract."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.lua import bindings
from tests.lua.bytecode import compile_globals
from tests.lua.contract import LUA, Contract, HeaderError, library_sentence, parse
from tollhouse.errors import ConfigurationError
from tollhouse.scripts import expand

LINES_MAX = 70
PACKAGE = LUA.parent / "service" / "tollhouse"
GLOBALS = frozenset(
    {"ARGV", "KEYS", "cjson", "redis", "math", "string", "table"}
    | {"error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack"}
)
READS = frozenset(
    {"DBSIZE", "EXISTS", "GET", "GETRANGE", "MGET", "PTTL", "STRLEN", "TIME", "TYPE"}
    | {"HEXISTS", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET", "HSCAN", "HSTRLEN", "HVALS"}
    | {"LLEN", "LRANGE", "SCARD", "SISMEMBER", "SMEMBERS", "XLEN", "XRANGE", "XREVRANGE"}
    | {"ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZRANK", "ZREVRANGE", "ZSCORE"}
)
FLAGS = frozenset({"allow-oom", "allow-stale", "no-writes"})
FORBIDDEN = {
    r"redis\.p?call\('(?:KEYS|SCAN|RANDOMKEY|FLUSHDB|FLUSHALL|SELECT)'": "touch only the keys that are given",
    r"'(?:EXPIRE|EXPIREAT|PEXPIREAT|SETEX|PSETEX|EX|EXAT|PXAT)'": "expire by a relative PX or PEXPIRE",
    r"redis\.p?call\((?!'[A-Z]+')": "name each command in place, in capitals",
    r"\bmath\.random": "give randomness as an argument",
    r"\bcjson\.encode": "reply with a flat array; cjson damages large numbers",
    r"\bgoto\b": "Lua 5.1 has no goto",
    r"\bredis\.(?!call|pcall|error_reply|status_reply)": "use what every server and fakeredis offer",
}
BARE_RETURN = re.compile(r"\breturn\b(?=\s*(?:$|end\b|nil\b|true\b|false\b|redis\.p?call|-?\d))", re.MULTILINE)
NESTED_RETURN = re.compile(r"\breturn \{[^\n]*\{")


def script_complaints(name: str, source: str) -> list[str]:
    """Return what is wrong with the script `name` (`feature/verb`)."""
    try:
        contract = parse(name, source)
        text = expand(LUA, source)
    except (HeaderError, ConfigurationError) as wrong:
        return [str(wrong)]
    except FileNotFoundError as missing:
        return [f"{missing.filename} is included, but not there"]
    return [
        *_header_complaints(contract),
        *bindings.complaints(contract),
        *_code_complaints(contract.body),
        *_flag_complaints(contract, text),
        *_compiled_complaints(text),
        *_length_complaints(source),
    ]


def library_complaints(name: str, source: str) -> list[str]:
    """Return what is wrong with the shared function `lib/name.lua`."""
    try:
        library_sentence(name, source)
    except HeaderError as wrong:
        return [str(wrong)]
    functions = re.findall(r"^local function (\w+)\(", source, re.MULTILINE)
    found = [] if len(functions) == 1 else [f"holds {functions}; a file in lib holds exactly one local function"]
    if re.search(r"^(?!--|local function|end$| |$)", source, re.MULTILINE):
        found.append("has code outside its function")
    if re.search(r"\b(KEYS|ARGV)\b", source):
        found.append("reads KEYS or ARGV; give what it needs as arguments")
    if "'TIME'" in source and name != "lib/now.lua":
        found.append("asks for the TIME; only lib/now.lua does")
    wrong = [f"{match}: {remedy}" for form, remedy in FORBIDDEN.items() for match in re.findall(form, source)]
    return [*found, *wrong, *_length_complaints(source)]


def _header_complaints(contract: Contract) -> Iterator[str]:
    first = next((slot for slot in contract.slots if slot.table == "ARGV"), None)
    if first is None or first.name != "now_ms" or not first.numeric:
        yield "ARGV[1] is not `now_ms  integer`"
    if contract.fields["idempotent"] not in ("yes", "no"):
        yield "idempotent is neither yes nor no"
    if unknown := set(contract.flags) - FLAGS:
        yield f"flags {sorted(unknown)} are unknown; say none, or some of {', '.join(sorted(FLAGS))}"
    if twin := contract.fields.get("twin"):
        yield from _twin_complaints(twin)


def _twin_complaints(twin: str) -> Iterator[str]:
    path, _, functions = twin.partition(": ")
    file = PACKAGE / path
    defined = _definitions(file) if file.is_file() else frozenset()
    for function in functions.split(", "):
        if function not in defined:
            yield f"its twin {function!r} is not defined in service/tollhouse/{path}"


def _definitions(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _code_complaints(body: str) -> Iterator[str]:
    for form, remedy in FORBIDDEN.items():
        for match in re.finditer(form, body):
            yield f"{match[0]}: {remedy}"
    if "'TIME'" in body:
        yield "asks for the TIME; only lib/now.lua does"
    if BARE_RETURN.search(body) or NESTED_RETURN.search(body):
        yield "replies with something else than a flat array"


def _flag_complaints(contract: Contract, text: str) -> Iterator[str]:
    commands = set(re.findall(r"redis\.p?call\('([A-Z]+)'", text))
    reads_only = commands <= READS
    if reads_only != ("no-writes" in contract.flags):
        writes = ", ".join(sorted(commands - READS)) or "nothing"
        yield f"flags say {contract.fields['flags']!r}, but it writes by {writes}"
    if not contract.fields["expires"].startswith("nothing is written") and reads_only:
        yield "expires speaks of keys, but nothing is written"


def _compiled_complaints(text: str) -> Iterator[str]:
    try:
        names = compile_globals(text)
    except SyntaxError as wrong:
        yield f"does not compile: {wrong}"
        return
    if names.written:
        yield f"writes the globals {sorted(names.written)}; everything is local"
    if unknown := names.read - GLOBALS:
        yield f"reads {sorted(unknown)}, which no server or include defines"


def _length_complaints(source: str) -> Iterator[str]:
    if (lines := len(source.splitlines())) > LINES_MAX:
        yield f"has {lines} lines; {LINES_MAX} is the stop"
