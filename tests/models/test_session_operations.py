"""Ten thousand random operations leave no dead session in an index, miss no live one, and no key lives for ever."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from tests.models.machines import on_each_world
from tests.models.session_operations import Operations
from tests.worlds import SCRIPTS, embedded_world, fake_world
from tollhouse.scripts import Script

OPERATIONS = {"embedded": 10_000, "fake": 2_000}
"""What fakeredis is asked repeats what the real server is asked, and takes five times as long."""
CHECK_EVERY = 250
SEED = 13

MUTANTS = {
    "an end leaves the index": ("redis.call('ZREM', index, sid)", ""),
    "a use leaves the score": (
        "redis.call('ZADD', index, end_ms, sid)",
        "if redis.call('ZCOUNT', index, '-inf', '+inf') < 2 then redis.call('ZADD', index, end_ms, sid) end",
    ),
    "a use does not prolong the record": (
        "redis.call('PEXPIRE', record, end_ms - now_ms)",
        "if redis.call('PTTL', record) < 0 then redis.call('PEXPIRE', record, end_ms - now_ms) end",
    ),
    "an index ends with the session that was used last": (
        "lengthen(index, end_ms - now_ms)",
        "redis.call('PEXPIRE', index, end_ms - now_ms)",
    ),
    "an epoch never expires": ("lengthen(epoch, new.absolute_ms)", ""),
    "a login at the cap ends one too few": ("for i = 1, #live - cap + 1 do", "for i = 1, #live - cap do"),
    "all other sessions are kept": (
        "elseif began ~= user_epoch and not (keeps and sid == keep) then",
        "elseif false then",
    ),
    "a change forgets what it does not name": (
        "redis.call('HSET', record, 'g', version, 'z', bytes, 'k', number)\n",
        "",
    ),
}


@on_each_world
async def test_ten_thousand_operations_agree_with_the_model(valkey_socket, kind):
    """After each part of them the index names the live sessions and no others, by their ends; data and list are right.

    No key is without an expiry but those that `keys.py` names.
    """
    async with fake_world() if kind == "fake" else embedded_world(valkey_socket) as world:
        await Operations(world, SEED).run(OPERATIONS[kind], CHECK_EVERY)


@pytest.mark.parametrize("name", MUTANTS)
async def test_the_operations_notice_each_missing_rule(name):
    """With one rule of the scripts left out, some operation or check disagrees with the model."""
    async with fake_world(without(*MUTANTS[name])) as world:
        with pytest.raises(AssertionError):
            await Operations(world, SEED).run(1_000, 20)


def without(rule: str, replacement: str) -> Mapping[str, Script]:
    """Return the scripts with a rule replaced."""
    mutated = {name: replace(script, plain=script.plain.replace(rule, replacement)) for name, script in SCRIPTS.items()}
    assert mutated != SCRIPTS
    return mutated
