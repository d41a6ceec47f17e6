"""Guesses at passwords, and what owners notice of them: `python -m bench.guessing`.

Three attacks on the library over a real server: callers that guess at one account side by side, again and again, whose
owner is away; the same while the owner logs in; and a run of stuffing, one guess at each of many accounts from many
addresses, whose guesses that find the queue of hashes full are made again until the time is over. Owners with a trusted
device log in meanwhile. Attackers, owners and the service share one process, so what the attackers themselves take of
the processor slows the owners, too. All of it takes under three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct

import tollhouse
from bench.machine import write_result
from tollhouse.errors import Overloaded
from tollhouse.settings import Settings
from tollhouse.settings.passwords import PasswordProfile
from tollhouse.settings.throttle import ThrottleSettings

PASSWORD: Final = "tandem walrus cartwheel"
WRONG: Final = "tandem walrus handstand"
SECRET: Final = b"32 random bytes for a benchmark."
HOME: Final = "192.0.2.1"
OWNERS: Final = 5
PAUSE_S: Final = 0.5
"""Between two guesses of a caller; it does not wait as long as it was told."""
OWNER_S: Final = 2.0
"""An owner has to be in by then."""
DEADLINE_S: Final = 10.0
"""An owner that is not in by then leaves."""
THROTTLE: Final = ThrottleSettings()
_HASHES: Final = "tollhouse_password_hash_duration_seconds_count"


class Attack(Struct, frozen=True, kw_only=True):
    """What became of an attack, and of the logins of owners meanwhile; memory is that of the process at its peak.

    An overload hashed nothing: the queue was full. `allowed` is how many hashes the throttle allows in that time.
    """

    name: str
    seconds: float
    guesses: int
    overloads: int
    hashed: int
    allowed: int
    owner_logins: int
    owner_refusals: int
    owner_overloads: int
    owner_worst_s: float
    peak_mib: int

    def failures(self) -> Iterator[str]:
        """Yield what must not be: more hashes than allowed, and owners who were kept out."""
        if self.hashed > self.allowed:
            yield f"{self.name}: {self.hashed} guesses were hashed, and {self.allowed} are allowed"
        if self.owner_refusals + self.owner_overloads > 0:
            yield f"{self.name}: owners with a trusted device were refused"
        if self.owner_worst_s > OWNER_S:
            yield f"{self.name}: an owner was in after {self.owner_worst_s} s, and should be within {OWNER_S} s"


class Owners:
    """Owners with a trusted device each, one of whom logs in each second until the attack is over."""

    def __init__(self, th: tollhouse.Tollhouse, names: Sequence[str]) -> None:
        self._th = th
        self._names = names
        self._devices: dict[str, str] = {}
        self.times_s: list[float] = []
        self.refusals = self.overloads = 0

    async def begin(self) -> None:
        """Sign up and log in once."""
        for name in self._names:
            await self._th.accounts.sign_up(name, PASSWORD, address=HOME)
            await self.log_in(name)
        self.times_s.clear()

    async def log_in(self, name: str) -> None:
        """Log in with the device of the last login, and keep the next one."""
        began_s = time.perf_counter()
        token = self._devices.get(name)
        login = self._th.accounts.login(name, PASSWORD, address=HOME, device_token=token)
        try:
            answer = await asyncio.wait_for(guessed(login), DEADLINE_S)
        except TimeoutError:
            answer = None
        self.times_s.append(time.perf_counter() - began_s)
        match answer:
            case tollhouse.LoginSucceeded():
                self._devices[name] = answer.device.reveal()
            case None:
                self.overloads += 1
            case _:
                self.refusals += 1

    async def each_second(self, over: asyncio.Event) -> None:
        """Log in once a second, in turn, until the attack is over."""
        turn = 0
        while not over.is_set():
            await self.log_in(self._names[turn % len(self._names)])
            turn += 1
            try:
                await asyncio.wait_for(over.wait(), max(0.0, 1 - self.times_s[-1]))
            except TimeoutError:
                continue


async def guessed(login: Awaitable[object]) -> object:
    """Return the result of a login, None if too many hashes were queued."""
    try:
        return await login
    except Overloaded:
        return None


async def attacked(
    name: str,
    th: tollhouse.Tollhouse,
    owners: Owners,
    attack: Callable[[], Awaitable[list[object]]],
    allowed: Callable[[float], int],
) -> Attack:
    """Run an attack while owners log in, and return what became of both."""
    before, began_s, over = _hashes(th), time.perf_counter(), asyncio.Event()
    logins = asyncio.create_task(owners.each_second(over))
    answers = await attack()
    over.set()
    await logins
    hashed, seconds = answers.count(tollhouse.WrongCredentials()), time.perf_counter() - began_s
    assert _hashes(th) - before <= hashed + len(owners.times_s), "a refusal computed a hash"
    return Attack(
        name=name,
        seconds=round(seconds, 1),
        guesses=len(answers),
        overloads=answers.count(None),
        hashed=hashed,
        allowed=allowed(seconds),
        owner_logins=len(owners.times_s),
        owner_refusals=owners.refusals,
        owner_overloads=owners.overloads,
        owner_worst_s=round(max(owners.times_s), 2),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


async def on_one_account(th: tollhouse.Tollhouse, callers: int, seconds: float, *, owner: str) -> Attack:
    """Guess at `ada` by so many callers at once, each from an address of its own, while an `owner` logs in."""
    is_ada = owner == "ada"
    owners = Owners(th, [owner])
    await owners.begin()
    end_s = time.perf_counter() + seconds

    async def guess(number: int) -> list[object]:
        at, made = f"198.18.{number // 250}.{number % 250}", list[object]()
        while not made or time.perf_counter() < end_s:
            made.append(await guessed(th.accounts.login("ada", WRONG, address=at)))
            await asyncio.sleep(PAUSE_S)
        return made

    async def attack() -> list[object]:
        return list(chain(*await asyncio.gather(*(guess(number) for number in range(callers)))))

    def allowed(took_s: float) -> int:
        waits = math.log2(1 + took_s)  # of 1, 2, 4 … seconds, whether ada logs in or not
        return min(THROTTLE.all_failures, math.floor(THROTTLE.free_failures + waits))

    name = f"{callers:,} callers at one account, its owner {'logs in' if is_ada else 'is away'}"
    return await attacked(name, th, owners, attack, allowed)


async def stuffing(th: tollhouse.Tollhouse, accounts: int, addresses: int, seconds: float) -> Attack:
    """Guess once at each of many accounts, from many addresses in turn, as many at once as there are addresses."""
    owners = Owners(th, [f"owner-{number}" for number in range(OWNERS)])
    await owners.begin()
    end_s = time.perf_counter() + seconds

    async def caller(address: int) -> list[object]:
        at, made = f"198.19.{address // 250}.{address % 250}", list[object]()
        for number in range(address, accounts, addresses):
            made.append(await guessed(th.accounts.login(f"user-{number}", WRONG, address=at)))
            while made[-1] is None and time.perf_counter() < end_s:
                await asyncio.sleep(PAUSE_S)
                made.append(await guessed(th.accounts.login(f"user-{number}", WRONG, address=at)))
        return made

    async def attack() -> list[object]:
        return list(chain(*await asyncio.gather(*(caller(address) for address in range(addresses)))))

    def allowed(_: float) -> int:
        return THROTTLE.all_failures

    return await attacked(f"{accounts:,} accounts over {addresses} addresses", th, owners, attack, allowed)


def table(attacks: Sequence[Attack]) -> str:
    """Return the attacks as Markdown."""
    rows = [
        f"| {one.name} | {one.guesses:,} in {one.seconds} s | {one.overloads:,} | {one.hashed:,} of {one.allowed:,} "
        f"| {one.owner_logins} | {one.owner_refusals}, {one.owner_overloads} | {one.owner_worst_s} s "
        f"| {one.peak_mib} MiB |"
        for one in attacks
    ]
    head = (
        "| attack | guesses | of these overloaded | hashed, of those allowed | logins of owners | refused, overloaded "
        "| the slowest | memory of the process |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])


async def measured(given: argparse.Namespace) -> list[Attack]:
    """Run all attacks, each over an empty server."""
    profile: PasswordProfile = given.profile
    settings = Settings(url="embedded://", secret=(SECRET,), password_profile=profile, deadline_ms=10_000)
    found: list[Attack] = []
    for owner in ("grace", "ada"):
        async with tollhouse.open(settings) as th:
            found.append(await on_one_account(th, given.callers, given.seconds, owner=owner))
    async with tollhouse.open(settings) as th:
        found.append(await stuffing(th, given.accounts, given.addresses, given.stuffing_seconds))
    return found


def _hashes(th: tollhouse.Tollhouse) -> int:
    return round(th.metrics.registry.get_sample_value(_HASHES) or 0)


def main() -> None:
    """Run the attacks, write the result, and fail if owners were kept out or too much was hashed."""
    parser = argparse.ArgumentParser(description="Guesses at passwords, and what owners notice of them.")
    parser.add_argument("--profile", choices=("default", "owasp"), default="default")
    parser.add_argument("--callers", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--addresses", type=int, default=500)
    parser.add_argument("--stuffing-seconds", type=float, default=90)
    attacks = asyncio.run(measured(parser.parse_args()))
    command = " ".join(["python -m bench.guessing", *sys.argv[1:]])
    write_result("guessing", "Guesses at passwords", command, table(attacks), attacks)
    failures = [failure for one in attacks for failure in one.failures()]
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
