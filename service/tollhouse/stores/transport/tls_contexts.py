"""TLS contexts: one for all connections, made anew when one of its files has changed.

Making one takes tens of milliseconds, so it is done in a thread. Certificates are renewed while processes run: each new
connection looks whether the files are still the same. Connections that are open stay.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from tollhouse.logs import Log
from tollhouse.stores.urls import Tls

_log = Log("tollhouse.stores")

Stamp = tuple[tuple[int, int, int], ...]
"""Of each file its inode, its size and the time of its last change."""


class TlsContexts:
    """The contexts of one dialer."""

    def __init__(self) -> None:
        self._made: dict[Tls, tuple[Stamp, asyncio.Future[ssl.SSLContext]]] = {}

    async def context(self, tls: Tls) -> ssl.SSLContext:
        """Return the shared context; a caller that is cancelled does not undo the work for the others.

        Raise OSError naming the files when one cannot be read or used.
        """
        loop = asyncio.get_running_loop()
        stamp = await loop.run_in_executor(None, _stamp, tls) if tls.files() else ()
        made = self._made.get(tls)
        if made is None or made[0] != stamp:
            made = self._made[tls] = (stamp, loop.run_in_executor(None, _make, tls))
            if not tls.verified:
                _log.warning("certificates of store servers are not verified: any server is believed")
        try:
            return await asyncio.shield(made[1])
        except OSError:
            self._made.pop(tls, None)  # the files are read again, they may have been repaired
            raise


def _stamp(tls: Tls) -> Stamp:
    try:
        stats = [Path(path).stat() for path in tls.files()]
    except OSError as error:
        raise OSError(f"a file for TLS cannot be read: {error}") from error
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in stats)


def _make(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:
        raise OSError(f"the authorities in {tls.ca} cannot be used: {error}") from error
    if not tls.verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        _load_own(context, tls, tls.certificate)
    return context


def _load_own(context: ssl.SSLContext, tls: Tls, certificate: str) -> None:
    try:
        # Without a function OpenSSL would ask for the password at the terminal.
        context.load_cert_chain(certificate, tls.key, password=lambda: tls.key_password or "")
    except (OSError, ValueError) as error:
        remedy = "it has to fit its key, and ssl_password the key"
        raise OSError(f"the certificate in {certificate} cannot be used: {error}; {remedy}") from error
