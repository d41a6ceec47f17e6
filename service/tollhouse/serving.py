"""Serving: the listening socket, the HTTP protocol with its bounds, and the lifetime of workers."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from tollhouse.asgi.response import problem_response, start_message
from tollhouse.errors import ConfigurationError
from tollhouse.settings import Settings

GRACE_S: Final = 3
"""How long open requests may take once a worker is told to stop."""
_BACKLOG: Final = 2048
_PARENT_POLL_S: Final = 0.25
_ORPHAN_GRACE_S: Final = 1.0
"""How long they may take if the parent is gone: embedded stores are gone too, and nothing else stops this worker."""
_CHUNKING: Final = 8
"""The most bytes on the wire per byte of body; small chunks have that much overhead."""
_REASONS: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class ServingConfig(uvicorn.Config):
    """Uvicorn's configuration, with the bounds that its protocol lacks; workers get a copy of it."""

    def __init__(self, app: str, settings: Settings) -> None:
        super().__init__(
            app,
            factory=True,
            http=BoundedHttp,
            ws="none",
            lifespan="on",
            workers=settings.workers,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        self.head_bytes = settings.head_bytes
        self.message_bytes = settings.head_bytes + _CHUNKING * settings.body_bytes


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 by httptools; a request head above its bound is answered with 431 (RFC 6585) and not buffered."""

    config: ServingConfig
    _idle = True
    _head_open = False
    _messages = 0
    _head_parsed_bytes = 0
    _head_fed_bytes = 0
    _message_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then count the bytes of a message that is not complete."""
        was_idle, was_head, messages = self._idle, self._head_open, self._messages
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._message_bytes += len(data)
        all_of_it_is_head = was_head or (was_idle and self._messages == messages + 1)
        if self._head_open and all_of_it_is_head:
            self._head_fed_bytes += len(data)
            if self._head_fed_bytes > self.config.head_bytes:
                self._refuse_head()
        elif self._message_bytes > self.config.message_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Start counting the bytes of a message."""
        super().on_message_begin()
        self._idle = False
        self._head_open = True
        self._messages += 1
        self._head_parsed_bytes = self._head_fed_bytes = self._message_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header or a trailer; stop the parser at the bound."""
        self._head_parsed_bytes += len(name) + len(value) + 4
        if self._head_parsed_bytes + len(self.url) > self.config.head_bytes:
            raise _HeadTooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request; the bytes that follow are its body."""
        self._head_open = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Mark the connection idle until the next message begins."""
        self._idle = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Send problem details for a request that cannot be parsed."""
        if self._head_parsed_bytes + len(getattr(self, "url", b"")) > self.config.head_bytes:
            self._refuse_head()
        else:
            self._refuse(400, "invalid-request", "Invalid Request", msg)

    def _refuse_head(self) -> None:
        detail = f"request line and headers are longer than {self.config.head_bytes} bytes"
        self._refuse(431, "head-too-large", "Request Head Too Large", detail)

    def _refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        response = problem_response(status, kind, title, detail)
        headers = [*start_message(response)["headers"], (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, _REASONS[status], lines, response.body))
        self.transport.close()


class _HeadTooLarge(Exception):
    """Stops the parser."""


def bind(host: str, port: int) -> socket.socket:
    """Bind the port before anything else starts; raise ConfigurationError if that is impossible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            "TOLLHOUSE_HOST", host, f"not an address of this machine ({error.strerror})"
        ) from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                "TOLLHOUSE_PORT", port, f"another program listens on {host}:{port}; stop it or choose another port"
            ) from error
        raise ConfigurationError(
            "TOLLHOUSE_HOST", f"{host}:{port}", f"cannot listen there: {error.strerror}"
        ) from error
    listening.set_inheritable(True)
    return listening


def run(config: ServingConfig, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, in this process or in workers; return when all of them have stopped."""
    if config.workers > 1:
        Multiprocess(config, sockets=[listening]).run()
        return
    # Uvicorn raises the signal again when it has stopped; ours ignores it, so that the caller can clean up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    uvicorn.Server(config).run(sockets=[listening])


def exit_with_parent(parent: int) -> None:
    """Stop this worker when the process that started it is gone, even if the event loop hangs."""

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(_PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_ORPHAN_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="tollhouse-parent", daemon=True).start()
