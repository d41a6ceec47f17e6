"""Compares how a script reads KEYS and ARGV with what its header says of them.

An argument at a fixed place is read once, in the first paragraph, into a local of its name: a number through tonumber,
or through `+ 0`, which raises if it is none, in half the time. Repeated arguments are read by an index that is a
multiple of a loop's variable plus a number, or by any index where the slot is open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.lua.contract import Contract, Slot, linear

_USE = re.compile(r"\b(KEYS|ARGV)\b(\s*\[([^\]]*)\])?")
_LOCAL = re.compile(r"local ([\w, ]+) = (.+)")
_LOOP = re.compile(r"\bfor (\w+) = ([^,]+),[^,]+?(?:, (\d+))? do\b")


def complaints(contract: Contract) -> list[str]:
    """Return each way in which the body differs from the header; none means that they agree."""
    code = "\n".join(line.partition("--")[0] for line in contract.body.splitlines())
    bindings, _, rest = code.partition("\n\n")
    bound = dict(_bound(bindings))
    fixed = {f"{slot.table}[{slot.offset}]": slot for slot in contract.slots if slot.factor == 0}
    return [
        *(said for slot in fixed.values() for said in _binding_complaints(slot, bound)),
        *(f"{place} is read, but the header does not name it" for place in bound if place not in fixed),
        *_repetition_complaints(code, [slot for slot in contract.slots if slot.factor]),
        *_late_complaints(rest),
    ]


def _bound(paragraph: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each fixed place that the paragraph binds, with the local's name and the expression."""
    for line in paragraph.splitlines():
        match = _LOCAL.fullmatch(line.strip())
        if match is None:
            continue
        names = [name.strip() for name in match[1].split(",")]
        for name, expression in zip(names, re.split(r",\s*(?![^()]*\))", match[2]), strict=False):
            for use in _USE.finditer(expression):
                if use[3] and use[3].isdecimal():
                    yield f"{use[1]}[{use[3]}]", (name, expression.strip())


def _binding_complaints(slot: Slot, bound: dict[str, tuple[str, str]]) -> Iterator[str]:
    place = f"{slot.table}[{slot.offset}]"
    if place not in bound:
        if not slot.unused:
            yield f"{place} is not bound in the first paragraph to the local {slot.name}"
        return
    name, expression = bound[place]
    if name not in (slot.name, "_" if slot.unused else slot.name):
        yield f"{place} is {slot.name} in the header, {name} in the code"
    if slot.numeric and f"tonumber({place})" not in expression and f"{place} + 0" not in expression:
        yield f"{place} is a number, but {expression} does not take it through tonumber"


def _repetition_complaints(code: str, repeated: list[Slot]) -> Iterator[str]:
    open_tables = {slot.table for slot in repeated if slot.open}
    read: set[Slot] = set()
    for use in _USE.finditer(code):
        slots = [slot for slot in repeated if slot.table == use[1]]
        if use[3] is None:
            if not slots:
                yield f"{use[1]} is used whole, but the header repeats nothing in it"
        elif not use[3].isdecimal() and use[1] not in open_tables:
            indices = _indices(code[: use.start()], use[3])
            matching = {slot for slot in slots if [slot.at(i) for i in (1, 2, 3)] == indices}
            read |= matching
            if not matching:
                yield f"{use[0]} gives {indices or 'no known indices'}, which no stride of the header gives"
    for slot in set(repeated) - read:
        if slot.table not in open_tables and not re.search(rf"\b{slot.table}\b(?!\s*\[)(?<!#{slot.table})", code):
            yield f"{slot.table}[{slot.factor}i{slot.offset:+}] is never read"


def _indices(before: str, expression: str) -> list[int] | None:
    """Return the indices that the expression has in the first three rounds of the loop over its variable."""
    found = linear(expression)
    loops = [loop for loop in _LOOP.finditer(before) if found and loop[1] == found[0]]
    if found is None or not loops or not loops[-1][2].isdecimal():
        return None
    _, factor, offset = found
    start, step = int(loops[-1][2]), int(loops[-1][3] or 1)
    return [factor * (start + step * turn) + offset for turn in range(3)]


def _late_complaints(rest: str) -> Iterator[str]:
    for use in _USE.finditer(rest):
        if use[3] and use[3].isdecimal():
            yield f"{use[0]} is read after the first paragraph"
