"""Whether the time of a failed login tells names apart: of an account, of none, and of one that is disabled.

    python -m bench.timing [--samples 200]

Three cases: a wrong password that is hashed; the same in a process with another profile than that of the stored
hashes; an attempt that the throttle refuses. In each round every kind of name has its turn, in random order, and each
attempt is of another address, so that no throttle but that of the case is met. Each pair of kinds is compared by the
rank-sum test of Mann and Whitney, at 0.01 divided by the number of pairs. The smallest difference that this finds in
nine of ten runs is determined from the samples themselves. Logins are calls of the library: a network adds noise and
no difference.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from msgspec import Struct

import tollhouse
from bench.machine import write_result
from bench.ranks import POWER, rank_sum_p, smallest_found
from tollhouse.accounts.outcomes import AccountCreated, LoginSucceeded
from tollhouse.settings import Settings
from tollhouse.settings.accounts import AccountSettings
from tollhouse.settings.passwords import PasswordProfile
from tollhouse.settings.throttle import ThrottleSettings
from tollhouse.stores.embedded.server import EmbeddedServer
from tollhouse.wiring import Tollhouse

SECRET = b"a secret of the benchmark, 32 byte"
PASSWORD, WRONG = "tandem walrus cartwheel", "tandem walrus handstand"
KINDS = ("known", "unknown", "disabled")
CASES = ("hashed", "hashed after a change of the profile", "throttled")
PAIRS = tuple(itertools.combinations(KINDS, 2))
ALPHA = 0.01 / (len(CASES) * len(PAIRS))
EACH = 2
"""So many wrong passwords for a name in one case: few enough for the throttle of an account."""
FLOODED = 3
"""So many names of each kind are refused by the throttle."""
ROW_MAX = 3
"""Wrong passwords in a row until a name of these is refused for good, so that no wait ends while it is measured."""
UNBOUNDED = 1_000_000


class Comparison(Struct, frozen=True, kw_only=True):
    """Two kinds of names: their medians, how probable such ranks are by chance, and what would have been found."""

    case: str
    kinds: tuple[str, str]
    samples: int
    median_ms: tuple[float, float]
    p: float
    found_ms: float

    @property
    def differs(self) -> bool:
        """Whether the kinds can be told apart."""
        return self.p < ALPHA


class Attempts:
    """Failed logins, each of another address."""

    def __init__(self, chance: random.Random) -> None:
        self._addresses = (f"10.{one}.{two}.7" for one, two in itertools.product(range(256), repeat=2))
        self.chance = chance

    def address(self) -> str:
        """Return an address that was not used before."""
        return next(self._addresses)

    async def took_ms(self, th: Tollhouse, name: str) -> float:
        """Return how long a wrong password for the name takes."""
        address = self.address()
        began_s = time.perf_counter()
        outcome = await th.accounts.login(name, WRONG, address=address)
        took_s = time.perf_counter() - began_s
        assert not isinstance(outcome, LoginSucceeded)
        return 1_000 * took_s


async def measured(url: str, samples: int, attempts: Attempts) -> Mapping[str, Mapping[str, list[float]]]:
    """Return the times of each case by the kind of name."""
    # All names are of one length: a longer one takes a fraction of a microsecond more, whosever it is.
    numbers = range(-(-samples // EACH) + FLOODED)
    names = {kind: [f"user-{place}{number:05}" for number in numbers] for place, kind in enumerate(KINDS)}
    async with opened(url, "owasp") as th:
        for name in names["known"] + names["disabled"]:
            created = await th.accounts.sign_up(name, PASSWORD, address=attempts.address())
            assert isinstance(created, AccountCreated)
        for name in names["disabled"]:
            await th.sessions.disable(name)
        hashed = await turns(th, names, samples, attempts)
    refused = {kind: names[kind][-FLOODED:] for kind in KINDS}
    async with opened(url, "owasp", row_max=ROW_MAX) as th:
        for name in itertools.chain.from_iterable(refused.values()):
            await flood(th, name, attempts)
        throttled = await turns(th, refused, samples, attempts)
    async with opened(url, "default") as th:
        changed = await turns(th, names, samples, attempts)
    return dict(zip(CASES, (hashed, changed, throttled), strict=True))


def opened(url: str, profile: PasswordProfile, **throttle: int) -> Tollhouse:
    """Return a process of the service, whose throttle of all clients together is never met."""
    accounts = AccountSettings(throttle=ThrottleSettings(all_failures=UNBOUNDED, **throttle))
    return tollhouse.open(Settings(url=url, secret=(SECRET,), password_profile=profile, accounts=accounts))


async def flood(th: Tollhouse, name: str, attempts: Attempts) -> None:
    """Guess at a name until the throttle refuses."""
    for _ in range(ROW_MAX + 1):
        computed = hashes(th)
        await attempts.took_ms(th, name)
        if hashes(th) == computed:
            return
    raise RuntimeError(f"the throttle does not refuse {name}")


def hashes(th: Tollhouse) -> float:
    """Return how many hashes were computed."""
    return th.metrics.registry.get_sample_value("tollhouse_password_hash_duration_seconds_count") or 0


async def turns(
    th: Tollhouse, names: Mapping[str, Sequence[str]], samples: int, attempts: Attempts
) -> Mapping[str, list[float]]:
    """Return the times by kind; every kind has its turn in each round, in random order."""
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(-1, samples):
        kinds = list(KINDS)
        attempts.chance.shuffle(kinds)
        for kind in kinds:
            own = names[kind][: max(len(names[kind]) - FLOODED, FLOODED)]
            took_ms = await attempts.took_ms(th, own[number % len(own)])
            if number >= 0:  # the first round is not counted: connections and caches are cold
                taken[kind].append(took_ms)
    return taken


def compared(taken: Mapping[str, Mapping[str, list[float]]]) -> Iterator[Comparison]:
    """Yield the comparison of each pair of kinds in each case."""
    for case, by_kind in taken.items():
        pooled = [value for values in by_kind.values() for value in values]
        samples = len(by_kind[KINDS[0]])
        found_ms = smallest_found(pooled, samples, ALPHA)
        for one, other in PAIRS:
            yield Comparison(
                case=case,
                kinds=(one, other),
                samples=samples,
                median_ms=(median(by_kind[one]), median(by_kind[other])),
                p=rank_sum_p(by_kind[one], by_kind[other]),
                found_ms=found_ms,
            )


def table(found: Sequence[Comparison]) -> str:
    """Return the comparisons as a table."""
    found_at = f"found with a power of {POWER}"
    lines = [
        f"| case | kinds | samples each | medians ms | p | {found_at} | told apart |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        medians = " and ".join(f"{value:.3f}" for value in one.median_ms)
        verdict = "yes" if one.differs else "no"
        row = (
            one.case,
            " and ".join(one.kinds),
            one.samples,
            medians,
            f"{one.p:.3f}",
            f"{one.found_ms:.3f} ms",
            verdict,
        )
        lines.append(f"| {' | '.join(map(str, row))} |")
    lines.append(f"\nTold apart means p below {ALPHA:.5f}: 0.01 for all {len(CASES) * len(PAIRS)} pairs together.")
    return "\n".join(lines)


def main() -> int:
    """Measure, write the result, and return 1 if names can be told apart."""
    parser = argparse.ArgumentParser(description="Whether the time of a failed login tells names apart.")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    attempts = Attempts(random.Random(options.seed))
    server = EmbeddedServer.start()
    try:
        taken = asyncio.run(measured(server.url, options.samples, attempts))
    finally:
        server.stop()
    found = list(compared(taken))
    command = " ".join(["python -m bench.timing", *sys.argv[1:]])
    write_result("timing", "The time of a failed login, by the kind of name", command, table(found), found)
    return int(any(one.differs for one in found))


if __name__ == "__main__":
    sys.exit(main())
