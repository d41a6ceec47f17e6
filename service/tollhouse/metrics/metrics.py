"""Prometheus metrics: one object per process, and the text of a scrape.

The number of label values is bounded: callers pass only names that the operator or the code chose, such as existing
policies and scripts. A name that a client sent never becomes a label. A family of cached values is the first word of
their keys, and an application may take that from a client: beyond `FAMILIES_MAX`, families count as `other`.

The workers of one service share a folder (`PROMETHEUS_MULTIPROC_DIR`, set before this module is imported), so that each
of them can answer a scrape for all. Each process then has exactly one `Metrics`.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from tollhouse.metrics.pending import FlushTimer, PendingCounter, PendingHistogram

_Workers = Literal["livemin", "livemax", "livesum", "livemostrecent"]
"""Which worker's value is exported, or their sum. The most recent one is that of the worker that answers the scrape, if
it sets the value just before."""
_SCRIPT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_HASH_MEANING = "Time to hash or verify one password, its wait in the queue left out."
_SCRIPT_MEANING = "Time from sending a script call to reading its reply."
_HASH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

FAMILIES_MAX = 256
"""How many families of cached values have figures of their own."""


class Metrics:
    """The metrics of one process; every method is cheap enough for the hot path.

    An application can export `registry` together with its own metrics.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._shared = environ.get("PROMETHEUS_MULTIPROC_DIR")
        self.registry = registry = CollectorRegistry()
        self._flush_timer = timer = FlushTimer()
        counter, gauge = partial(_counter, registry), partial(_gauge, registry)
        pending = partial(_pending_counter, registry, timer)
        self._decisions = pending("ratelimit_decisions_total", "Decided takes.", "policy", "outcome")
        self._bytes = pending("cache_bytes_total", "Bytes of cached values.", "cache", "way")
        self._sessions = pending("session_operations_total", "Calls on sessions.", "operation", "outcome")
        self._logins = counter("logins_total", "Attempts to log in.", "outcome")
        meaning = "Guesses at passwords and codes by what the throttle said."
        self._throttle = counter("throttle_attempts_total", meaning, "factor", "outcome")
        self._older = counter("older_secret_logins_total", "Logins of accounts under an older secret.", "key_id")
        self._leased = counter("ratelimit_leased_decisions_total", "Takes admitted from quota leases.", "policy")
        self._lease_units = counter("ratelimit_lease_units_total", "Units of quota leases that ended.", "policy", "way")
        self._reads = counter("cache_requests_total", "Reads of a cache family.", "cache", "result")
        self._saved = counter("cache_saved_seconds_total", "Time that loads would have taken.", "cache")
        self._misses = counter("cache_misses_total", "Look-ups that found nothing to return.", "cache", "cause")
        self._refused_fills = counter("cache_refused_fills_total", "Values that were too old to be stored.", "cache")
        self._families: set[str] = set()
        self._settings = counter("settings_reads_total", "Settings files that were read again.", "outcome")
        self._discarded = counter("state_discarded_total", "Stored values that could not be used.", "kind")
        self._up = gauge("store_up", "1 while every worker reaches the store.", "store", "livemin")
        self._failures = counter("store_failures_total", "Calls without a reliable reply.", "store", "outcome")
        self._breakers = gauge("breaker_open", "1 while a worker does without the store.", "store", "livemax")
        meaning = "1 while a server refuses a worker, and only a change of the setup helps."
        self._refused = gauge("store_refused", meaning, "store", "livemax")
        self._connections = counter("store_connections_total", "Connections that were made.", "store")
        self._connections_reported: dict[str, int] = {}
        self._generation = gauge("store_generation", "Primaries so far, 0 before the first.", "store", "livemax")
        self._sentinels_known = gauge("sentinels_known", "Sentinels known.", "store", "livemostrecent")
        self._sentinels_reachable = gauge(
            "sentinels_reachable", "Sentinels with a connection.", "store", "livemostrecent"
        )
        self._replicas_promotable = gauge("replicas_promotable", "Replicas to fail over to.", "store", "livemostrecent")
        self._hashes_queued = gauge("password_hash_queue", "Password hashes that wait.", "lane", "livesum")
        self._hashes_refused = counter("password_hash_refused_total", "Hashes that got no permit.", "lane", "reason")
        self._hashes = _histogram(registry, "password_hash_duration_seconds", _HASH_MEANING, _HASH_SECONDS)
        self._scripts = _script_histogram(registry, timer)
        gauge("build_info", "Always 1.", "version", "livemax")(version("tollhouse")).set(1)

    def decision(self, policy: str, outcome: str, takes: int = 1) -> None:
        """Count takes, one or more; `policy` must exist.

        Outcomes are allowed, refused and shadow-refused; if the store did not answer, degraded-allowed and
        degraded-refused.
        """
        self._decisions.pending[policy, outcome] += takes
        if self._shared is not None:
            self._flush_timer.start()

    def quota_lease(self, policy: str, decisions: int, *, used: int, returned: int, lost: int) -> None:
        """Count a quota lease that ended: the takes that it admitted, and what became of its units."""
        self._leased(policy).inc(decisions)
        for way, units in (("used", used), ("returned", returned), ("lost", lost)):
            self._lease_units(policy, way).inc(units)

    def session(self, operation: str, outcome: str) -> None:
        """Count one call on sessions, such as verify and ok."""
        self._sessions.pending[operation, outcome] += 1
        if self._shared is not None:
            self._flush_timer.start()

    def login(self, outcome: str) -> None:
        """Count one login: ok, wrong, throttled or overloaded."""
        self._logins(outcome).inc()

    def throttle(self, factor: str, outcome: str) -> None:
        """Count one guess: admitted, trusted, or refused by account, address, site or everyone; or by a repetition."""
        self._throttle(factor, outcome).inc()

    def older_secret_login(self, key_id: str) -> None:
        """Count one login of an account that still needed the older secret of this key id."""
        self._older(key_id).inc()

    def password_hash(self, seconds: float) -> None:
        """Record how long one password took to hash or verify."""
        self._hashes.observe(seconds)

    def hashes_queued(self, lane: str, count: int) -> None:
        """Record how many password hashes wait in a lane, trusted or untrusted."""
        self._hashes_queued(lane).set(count)

    def hash_refused(self, lane: str, reason: str) -> None:
        """Count one password hash that got no permit: the queue of its lane was full, or it came too late."""
        self._hashes_refused(lane, reason).inc()

    def cache(self, cache: str, result: str) -> None:
        """Count one read of a cache family, such as `ai:langid` and hit."""
        self._reads(self.family(cache), result).inc()

    def cache_miss(self, cache: str, cause: str) -> None:
        """Count one look-up that found nothing to return: absent, invalidated, epoch or unusable."""
        self._misses(self.family(cache), cause).inc()

    def cache_refused_fill(self, cache: str) -> None:
        """Count one value that was not stored, because it may be older than an invalidation."""
        self._refused_fills(self.family(cache)).inc()

    def cache_bytes(self, cache: str, way: str, size_bytes: int) -> None:
        """Count the bytes of a value, as it is stored: stored, or served from the store."""
        self._bytes.pending[self.family(cache), way] += size_bytes
        if self._shared is not None:
            self._flush_timer.start()

    def cache_saved(self, cache: str, seconds: float) -> None:
        """Add the load time that a hit saved; a negative time, from clocks that differ, adds nothing."""
        self._saved(self.family(cache)).inc(max(seconds, 0.0))

    def family(self, family: str) -> str:
        """Return a family of cached values if it has figures of its own, or `other` beyond `FAMILIES_MAX`."""
        if family not in self._families:
            if len(self._families) >= FAMILIES_MAX:
                return "other"
            self._families.add(family)
        return family

    def store_up(self, store: str, up: bool) -> None:  # noqa: FBT001 - `up` is the value, not a mode
        """Record whether this process reaches the store."""
        self._up(store).set(int(up))

    def store_failure(self, store: str, outcome: str) -> None:
        """Count a call that got no reliable reply: not-sent, rejected, or ambiguous if it may have run."""
        self._failures(store, outcome).inc()

    def breaker(self, store: str, *, open: bool) -> None:  # noqa: A002 - the word for the state of a breaker
        """Record whether this process has stopped calling the store for now."""
        self._breakers(store).set(int(open))

    def store_refused(self, store: str, *, refused: bool) -> None:
        """Record whether the server of a store refuses this process for a reason that waiting does not mend."""
        self._refused(store).set(int(refused))

    def store_connections(self, store: str, made: int) -> None:
        """Record how many connections to a store this process has made so far, reconnects included.

        The counter sums the last number that each worker recorded.
        """
        before = self._connections_reported.get(store, 0)
        self._connections(store).inc(max(made - before, 0))
        self._connections_reported[store] = max(made, before)

    def store_watch(
        self,
        store: str,
        *,
        generation: int,
        sentinels_known: int,
        sentinels_reachable: int,
        replicas_promotable: int,
    ) -> None:
        """Record what this process knows of the service behind a store; call it just before `render`.

        All workers watch the same Sentinels, so the scrape has the values of the worker that answers it, not the
        minimum of values that may be old. Each worker numbers its own generations; the scrape has the highest number.
        """
        self._generation(store).set(generation)
        self._sentinels_known(store).set(sentinels_known)
        self._sentinels_reachable(store).set(sentinels_reachable)
        self._replicas_promotable(store).set(replicas_promotable)

    def script(self, store: str, script: str, seconds: float) -> None:
        """Record how long one script call took."""
        numbers = self._scripts.pending.get((store, script)) or self._scripts.add(store, script)
        numbers[bisect_left(_SCRIPT_SECONDS, seconds)] += 1
        numbers[-1] += seconds
        if self._shared is not None:
            self._flush_timer.start()

    def settings_read(self, outcome: str) -> None:
        """Count a settings file that was read again: applied, or refused."""
        self._settings(outcome).inc()

    def discarded_state(self, kind: str) -> None:
        """Count a stored value that was foreign, or written by a clock too far ahead."""
        self._discarded(kind).inc()

    def render(self) -> tuple[bytes, str]:
        """Return the metrics of all workers as text, and the content type of the text."""
        if self._shared is None:
            return generate_latest(self.registry), CONTENT_TYPE_LATEST
        self._flush_timer.flush()
        _remove_dead_workers(Path(self._shared))
        workers = CollectorRegistry()
        MultiProcessCollector(workers, path=self._shared)
        return generate_latest(workers), CONTENT_TYPE_LATEST


def _remove_dead_workers(folder: Path) -> None:
    """Remove the gauges of dead processes; their counters stay."""
    for path in folder.glob("gauge_live*.db"):
        process = path.stem.rpartition("_")[2]
        if process.isdigit() and not _alive(int(process)):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Return True if a process of that number exists, even one that we may not signal."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def _pending_counter(
    registry: CollectorRegistry, timer: FlushTimer, name: str, meaning: str, *labels: str
) -> PendingCounter:
    counter = PendingCounter(Counter(f"tollhouse_{name}", meaning, labels, registry=None))
    registry.register(counter)
    timer.add(counter.flush)
    return counter


def _script_histogram(registry: CollectorRegistry, timer: FlushTimer) -> PendingHistogram:
    histogram = _histogram(None, "script_duration_seconds", _SCRIPT_MEANING, _SCRIPT_SECONDS, "store", "script")
    pending = PendingHistogram(histogram, _SCRIPT_SECONDS)
    registry.register(pending)
    timer.add(pending.flush)
    return pending


def _counter(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Callable[..., Counter]:
    return cache(Counter(f"tollhouse_{name}", meaning, labels, registry=registry).labels)


def _gauge(registry: CollectorRegistry, name: str, meaning: str, label: str, workers: _Workers) -> Callable[..., Gauge]:
    return cache(Gauge(f"tollhouse_{name}", meaning, [label], registry=registry, multiprocess_mode=workers).labels)


def _histogram(
    registry: CollectorRegistry | None, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    return Histogram(f"tollhouse_{name}", meaning, labels, registry=registry, buckets=buckets)
