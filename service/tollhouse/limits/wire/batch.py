"""Encodes takes that share a call: the script, its keys and its arguments."""

from __future__ import annotations

from collections.abc import Sequence

from tollhouse.limits.wire.compiled_policy import TAKE, CompiledPolicy
from tollhouse.limits.wire.request import TakeRequest
from tollhouse.scripts import Argument


def encode_batch(requests: Sequence[TakeRequest]) -> tuple[str, list[str], Sequence[Argument]]:
    """Return the script of one call, its keys and arguments; the cost of takes that differ only in keys is there once.

    A take that is alone has a script of its own.
    """
    keys = [request.state_key for request in requests]
    compiled, cost = requests[0].compiled, requests[0].cost
    if len(requests) == 1:
        script, args = compiled.solo_call(cost)
        return script, keys, args
    for request in requests:
        if request.compiled is not compiled or request.cost != cost:
            return TAKE, *encode_takes(requests)
    if len(set(keys)) < len(keys):
        return TAKE, *encode_takes(requests)
    return TAKE, keys, [1, *compiled.batch_arguments, 1, cost]


def encode_takes(requests: Sequence[TakeRequest]) -> tuple[list[str], list[Argument]]:
    """Return the keys and arguments of one call for several takes: each policy once, then the takes."""
    costs: list[Argument] = []
    positions: dict[CompiledPolicy, int] = {}
    latest, position = None, 0
    for request in requests:
        if request.compiled is not latest:  # in most calls once
            latest = request.compiled
            position = positions.setdefault(latest, len(positions) + 1)
        costs += (position, request.cost)
    args: list[Argument] = [len(positions)]
    for compiled in positions:
        args += compiled.batch_arguments
    return [request.state_key for request in requests], args + costs
