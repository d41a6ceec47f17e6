"""Refusals: why a store cannot be used, what mends it, and whether waiting may. This is the one place that says it.

| what a connection or a call meets                               | lasts            |
|-----------------------------------------------------------------|------------------|
| a login that is wrong or missing, protected mode                | until it is set  |
| no right to run scripts, or to write the keys of the store      | until it is set  |
| a server too old, a database that it does not have              | until it is set  |
| a replica, if the URL names one server                          | until it is set  |
| a replica, if other servers may be the primary                  | for a while      |
| no server, no answer, a server that loads, is full or is busy   | for a while      |

With `strict`, a call that meets one that lasts raises StoreRefused, else StoreUnavailable, as in an outage. The stores
of one Tollhouse share a `RefusalLog`: what several of them meet on one server is logged once.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tollhouse.errors import ConfigurationError, Outcome, StoreError, StoreRefused, StoreUnavailable
from tollhouse.logs import Log
from tollhouse.metrics import Metrics
from tollhouse.stores.transport.errors import LOGIN_CODES, ConnectionLost, DeadlinePassed, ServerError, is_denied

LOGIN_REMEDY: Final = "set the server's user and password in the URL"
RIGHTS: Final = (
    "~tollhouse:* &tollhouse:* +@read +@write +@scripting +@pubsub +@connection +time +info +role +config|get"
)
"""The rights with which an account loses nothing that matters, as ACL SETUSER takes them."""
RIGHTS_REMEDY: Final = f"allow the account to run scripts that write its keys: ACL SETUSER its-name {RIGHTS}"
START: Final = "see that the server runs and can be reached, or correct the URL"
SILENT: Final = (
    "check its address, and that it speaks TLS if the URL begins with rediss:// or valkeys://; "
    "if it is far, set round_trip_ms"
)
"""The remedy for a server that accepts a connection, or not even that, and says nothing."""
_UNCONNECTED: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLCertVerificationError, "name the file of its authority (?ca=FILE), or the host as its certificate does"),
    (ssl.SSLError, "see that the server speaks TLS there; without TLS the URL begins with redis://"),
    (ConnectionLost, "see that it is a Redis or Valkey server; if it speaks TLS, the URL begins with rediss://"),
)
"""The remedies for errors of a connection that was made, and led to no handshake."""
CORRECT: Final = "correct the URL, or the setup of the servers that it names"
_REMEDIES: Final = {
    **dict.fromkeys(LOGIN_CODES, LOGIN_REMEDY),
    "DENIED": "the server is in protected mode: set a password there and in the URL, or `protected-mode no`",
    "READONLY": "use the URL of its primary, or name all its servers or Sentinels in the URL",
    "OOM": "raise maxmemory of the server, or let the cache have a server of its own",
    "MISCONF": "the server cannot save its data: look at its disk and its log",
    "NOREPLICAS": "wait until the primary has a replica, or lower min-replicas-to-write",
    "BUSY": "wait for the script that runs there, or end it with SCRIPT KILL",
    "LOADING": "wait until it has loaded its data",
    "MOVED": "use a server without Cluster mode",
    "CLUSTERDOWN": "use a server without Cluster mode",
    "ERR max number of clients reached": "raise maxclients of the server, or lower the number of processes",
}
_LOG: Final = "look at the log of the server"
_LASTING: Final = ("DENIED", *LOGIN_CODES)
_DENIED_S: Final = 60.0
"""How long a script that was denied is taken to be denied still, though others run."""

_log = Log("tollhouse.stores")


class ServerRefusal(Struct, frozen=True, kw_only=True):
    """Why a server cannot be used, and the remedy; it is `permanent` if only a change of the setup helps."""

    server: str
    reason: str
    remedy: str
    permanent: bool = False

    @property
    def text(self) -> str:
        """Return all of it as one sentence."""
        return f"{self.server}: {self.reason}; {self.remedy}"

    def has_cause_of(self, other: ServerRefusal | None) -> bool:
        """Return whether both have one cause: outages of one server do, and what one remedy mends."""
        if other is None or (self.server, self.permanent) != (other.server, other.permanent):
            return False
        return not self.permanent or self.remedy == other.remedy


def refusal_to_connect(server: str, error: Exception, *, single: bool, connect_s: float) -> ServerRefusal:
    """Return what keeps a store from connecting; `single` if its URL names one server."""
    if isinstance(error, ConfigurationError):
        return ServerRefusal(server=server, reason=str(error.value), remedy=error.remedy, permanent=True)
    if isinstance(error, TimeoutError | DeadlinePassed):
        return unanswered(server, f"no answer within {connect_s:g} s", SILENT)
    if not isinstance(error, ServerError):
        reason = f"cannot connect: {str(error) or type(error).__name__}"
        return unanswered(server, reason, next((text for kind, text in _UNCONNECTED if isinstance(error, kind)), START))
    if error.code == "READONLY":
        return ServerRefusal(server=server, reason="the server is a replica", remedy=_remedy(error), permanent=single)
    reason = f"refused the {'login' if error.code in LOGIN_CODES else 'handshake'}: {_words(error)}"
    return ServerRefusal(server=server, reason=reason, remedy=_remedy(error), permanent=error.code in _LASTING)


def _words(error: ServerError) -> str:
    """Return what a server said, without the full stop, because the remedy follows."""
    return str(error).rstrip(".")


def _remedy(error: ServerError) -> str:
    return next((remedy for words, remedy in _REMEDIES.items() if str(error).startswith(words)), _LOG)


def unanswered(server: str, reason: str, remedy: str = START) -> ServerRefusal:
    """Return the refusal for a reason that is known only in words."""
    return ServerRefusal(server=server, reason=reason, remedy=remedy)


class RefusalLog:
    """Reports what keeps the stores of one Tollhouse from their servers: each cause once, until it is another one.

    It is an error if waiting does not mend it, or if the server was never there. If the store was well before, it may
    be a failover, and is a warning.
    """

    def __init__(self, metrics: Metrics, *, strict: bool = False) -> None:
        self.strict = strict
        self._metrics = metrics
        self._present: dict[str, ServerRefusal] = {}
        self._seen_well: set[str] = set()

    def report(self, store: str, refusal: ServerRefusal) -> None:
        """Log a refusal, unless this store or another one has met its cause already."""
        if refusal.has_cause_of(self._present.get(store)):
            return
        is_new = not any(refusal.has_cause_of(other) for other in self._present.values())
        self._present[store] = refusal
        self._metrics.store_refused(store, refused=refusal.permanent)
        if not is_new:
            return
        fields = {"store": store, "server": refusal.server, "reason": refusal.reason, "remedy": refusal.remedy}
        if refusal.permanent or store not in self._seen_well:
            _log.error("store cannot be used", extra=fields)
        else:
            _log.warning("store does not answer, calls fail at once", extra=fields)

    def is_refused(self, store: str) -> bool:
        """Return True if only a change of the setup lets a store be used, as far as is known."""
        present = self._present.get(store)
        return present is not None and present.permanent

    def end(self, store: str) -> None:
        """Log that a store is well again, if it was not."""
        self._seen_well.add(store)
        if self._present.pop(store, None) is not None:
            self._metrics.store_refused(store, refused=False)
            _log.info("store answers again", extra={"store": store})


class StoreRefusals:
    """The refusals of one store, which is on `server`.

    They are `disproved` by a call that succeeds. If a script was denied, this has to be the same one, or a minute has
    passed since: an account may run some scripts and not others. `on_proof` is called after successes, until then.
    """

    def __init__(
        self,
        log: RefusalLog,
        store: str,
        server: str,
        on_proof: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.disproved = False
        self._denied: set[str] = set()
        self._denied_s = -math.inf
        self._clock = clock
        self._log = log
        self._store = store
        self._server = server
        self._on_proof = on_proof

    @property
    def is_refused(self) -> bool:
        """Return True if only a change of the setup lets the store be used, as far as is known."""
        return self._log.is_refused(self._store)

    def report(self, refusal: ServerRefusal | None, reason: str) -> None:
        """Report that the server does not answer, for a reason in words if no refusal is known."""
        self.disproved = False
        self._log.report(self._store, refusal or unanswered(self._server, reason))

    def of_call(self, error: ServerError, script: str | None) -> ServerRefusal:
        """Return what the error of a call says about the server, and report it if a script is denied for good.

        Without `script` it was a plain command, which a store can do without.
        """
        if not is_denied(error):
            return ServerRefusal(server=self._server, reason=_words(error), remedy=_remedy(error))
        refusal = ServerRefusal(server=self._server, reason=_words(error), remedy=RIGHTS_REMEDY, permanent=True)
        if script is not None:
            self._denied.add(script)
            self._denied_s = self._clock()
            self.report(refusal, "")
        return refusal

    def error(self, happened: Outcome, reason: str, refusal: ServerRefusal | None) -> StoreError:
        """Return the error of a call: a refusal that is permanent is a mistake, if that is to be strict."""
        if self._log.strict and refusal is not None and refusal.permanent:
            return StoreRefused(self._store, happened, f"{refusal.server}: {refusal.reason}", refusal.remedy)
        return StoreUnavailable(self._store, happened, reason)

    def disprove(self, script: str) -> None:
        """Take note that a script ran."""
        self._denied.discard(script)
        if not self._denied or self._clock() - self._denied_s >= _DENIED_S:
            self.disproved = True
            self.end()
        self._on_proof()

    def end(self) -> None:
        """Take note that the server answers."""
        self._denied.clear()
        self._log.end(self._store)
