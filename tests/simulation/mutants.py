"""Mutants: copies of the package with one line replaced, each of which breaks a promise, and the seed that shows it.

`make simulate-mutants` searches a seed for each mutant and writes it into `mutants.json`, which a test replays. A seed
counts if the package itself passes it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct

ROOT: Final = Path(__file__).parents[2]
PART: Final = 40
"""Seeds that are run before the outcome is looked at."""
TABLE: Final = Path(__file__).with_name("mutants.json")
_STORES: Final = "service/tollhouse/stores"
_GROUP_COMMIT: Final = f"{_STORES}/durability/group_commit.py"
_SESSIONS: Final = "service/tollhouse/sessions"
_FOUND: Final = re.compile(r"^  seed (\d+): ([a-z-]+): ", re.MULTILINE)


class Mutant(Struct, frozen=True, kw_only=True):
    """A promise that is broken by replacing `old` by `new` in a file."""

    name: str
    file: str
    old: str
    new: str


def _mutant(name: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(name=name, file=file, old=old, new=new)


MUTANTS: Final = (
    _mutant(
        "a primary that no replica acknowledges is trusted",
        f"{_STORES}/replication/watch.py",
        "return asyncio.get_running_loop().time() <= self._until_s",
        "return True",
    ),
    _mutant(
        "a selected replica is used before it reports the role of a primary",
        f"{_STORES}/discovery/role_probe.py",
        "if isinstance(await self._role(connection), Primary):",
        "if await self._role(connection):",
    ),
    _mutant(
        "one replica confirms for all",
        f"{_STORES}/durability/replicas.py",
        "if self._is_durable(attached, _end(before)):",
        "if count >= 1:",
    ),
    _mutant(
        "a confirmation without an answer counts",
        _GROUP_COMMIT,
        "self._on_failure(error)\n            return False",
        "self._on_failure(error)\n            return True",
    ),
    _mutant(
        "calls join a confirmation that was sent before they ran",
        _GROUP_COMMIT,
        "self._under_way, self._gathering = self._gathering, None",
        "self._under_way = self._gathering",
    ),
    _mutant(
        "every session counts as durable",
        f"{_SESSIONS}/verbs/creator.py",
        "token=token, durable=confirmed and ended)",
        "token=token, durable=True)",
    ),
    _mutant("nothing is replayed on a new primary", f"{_STORES}/replay.py", "await self.action(run)", "pass"),
    _mutant(
        "every revocation counts as durable",
        f"{_SESSIONS}/revoker.py",
        "found, durable = found or ended, durable and confirmed",
        "found, durable = found or ended, True",
    ),
    _mutant(
        "a reply goes to the latest call",
        f"{_STORES}/transport/connection.py",
        "self._slots.popleft()[0], self._filter_reply(reply)",
        "self._slots.pop()[0], self._filter_reply(reply)",
    ),
    _mutant(
        "no call ends by its deadline",
        f"{_STORES}/transport/connection.py",
        "if deadline_s <= now and not future.done():",
        "if deadline_s <= 0 and not future.done():",
    ),
    _mutant(
        "generations begin at 1 again",
        f"{_STORES}/discovery/primary_history.py",
        "number=1 if self.current is None else self.current.number + 1,",
        "number=1,",
    ),
    _mutant(
        "connections stay open when a store is closed",
        f"{_STORES}/reconnecting.py",
        "            await connection.aclose()\n        self._connection, self._draining",
        "            pass\n        self._connection, self._draining",
    ),
    _mutant(
        "a revocation leaves the record",
        "lua/lib/end_session.lua",
        "redis.call('DEL', record) == 0",
        "redis.call('EXISTS', record) == 0",
    ),
    _mutant(
        "a rotation leaves the former secret",
        "lua/lib/replace_secret.lua",
        "redis.call('HDEL', record, 'hp', 'hpx')",
        "redis.call('HSET', record, 'hp', session.verifier, 'hpx', now_ms + 30000)",
    ),
    _mutant(
        "every rotation counts as durable",
        f"{_SESSIONS}/verbs/rotator.py",
        "self._presentations.session(verb, shown, reply), durable",
        "self._presentations.session(verb, shown, reply), True",
    ),
    _mutant(
        "every disabling counts as durable",
        f"{_SESSIONS}/verbs/disabler.py",
        "durable=durable and revoked.durable",
        "durable=True",
    ),
    _mutant(
        "a disabled user may log in",
        "lua/sessions/create.lua",
        "if own[2] == '1' then return {2} end",
        "",
    ),
    _mutant(
        "a patch sets no value",
        "lua/sessions/patch.lua",
        "else redis.call('HSET', record, name, values[i]) end",
        "end",
    ),
)


@contextmanager
def mutated(mutant: Mutant) -> Iterator[Path]:
    """Make a copy of the package with the line replaced; yield its folder."""
    with TemporaryDirectory(prefix="th-mutant-") as name:
        folder = Path(name)
        for part in ("service/tollhouse", "lua"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        path = folder / mutant.file
        text = path.read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.file} has the line to replace once"
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        yield folder


def broken(folder: Path, seeds: range, *, workers: int = 1) -> dict[int, str]:
    """Return the first rule that each seed breaks with the package in a folder, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulation", "--shown", "0", "--workers", str(workers)]
    run = subprocess.run(
        [*command, "--seeds", f"{seeds.start}:{seeds.stop}"],
        env={**os.environ, "PYTHONPATH": str(folder / "service"), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[int, str] = {}
    for seed, rule in _FOUND.findall(run.stdout):
        found.setdefault(int(seed), rule)
    assert found or run.returncode == 0, run.stderr
    return found


def search(mutant: Mutant, seeds: range, workers: int) -> tuple[int, str] | None:
    """Return the first seed that the mutant breaks and the package does not, with the rule."""
    with mutated(mutant) as folder:
        for start in range(seeds.start, seeds.stop, PART):
            part = range(start, min(start + PART, seeds.stop))
            for seed, rule in sorted(broken(folder, part, workers=workers).items()):
                if not broken(ROOT, range(seed, seed + 1)):
                    return seed, rule
    return None


def main(arguments: list[str]) -> int:
    """Search a seed for each mutant; return 1 if one of them survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many seeds are tried")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="only mutants with this text in their names")
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    table = {name: entry for name, entry in recorded().items() if name in {mutant.name for mutant in MUTANTS}}
    for mutant in chosen:
        table.pop(mutant.name, None)
        found = search(mutant, range(options.seeds), options.workers)
        if found is not None:
            table[mutant.name] = found
        told = "SURVIVES" if found is None else f"seed {found[0]} breaks {found[1]}"
        sys.stdout.write(f"{mutant.name}: {told}\n")
        sys.stdout.flush()
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n", encoding="utf-8")
    return 0 if all(mutant.name in table for mutant in chosen) else 1


def recorded() -> dict[str, tuple[int, str]]:
    """Return the seed and the rule that each mutant was found with."""
    return msgspec.json.decode(TABLE.read_bytes(), type=dict[str, tuple[int, str]]) if TABLE.exists() else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
