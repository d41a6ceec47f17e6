"""Credentials that change while the process runs: in files that are read anew, or from a function of the application.

What goes wrong is an OSError, as a server that cannot be reached is: the next attempt to connect asks again. No error
quotes what was read, and none has its cause, which may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final

from tollhouse.runtime.functions import is_async
from tollhouse.settings.credentials import CredentialsFunction, Place, StoreCredentials

FILE_BYTES_MAX: Final = 16 * 1024
"""Bound of a file with a user name or a password."""
FUNCTION_S: Final = 5.0
"""Longest time of one call of a function."""
_KEPT_S: Final = 1.0
"""How long the answer of a function serves further logins: stores, resolver and subscribers often log in together."""


class CredentialsSource:
    """Calls a function for one place. Logins that meet share its answer, and a function that hangs is called once."""

    def __init__(self, function: CredentialsFunction, place: Place, *, timeout_s: float = FUNCTION_S) -> None:
        self._function = function
        self._place: Place = place
        self._timeout_s = timeout_s
        self._answer: StoreCredentials | None = None
        self._good_until_s = 0.0
        self._in_thread: asyncio.Future[Any] | None = None

    async def get(self) -> StoreCredentials | None:
        """Return the credentials; raise OSError if the function raises, hangs, or returns anything else."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._good_until_s:
            return self._answer
        answer: object = self._function(self._place) if is_async(self._function) else await self._call_in_thread()
        if isawaitable(answer):
            answer = await self._awaited(answer)
        if not isinstance(answer, StoreCredentials | None):
            raise OSError(
                f"the function for credentials returned {type(answer).__name__}; return StoreCredentials or None"
            )
        self._answer, self._good_until_s = answer, loop.time() + _KEPT_S
        return answer

    async def _awaited(self, answer: Awaitable[object]) -> object:
        calling = asyncio.ensure_future(answer)
        try:
            return await self._result(calling)
        finally:
            calling.cancel()

    async def _call_in_thread(self) -> object:
        # A cancelled caller leaves the thread to the next one: it cannot be stopped, and is not started twice.
        loop = asyncio.get_running_loop()
        calling = self._in_thread
        if calling is None or calling.get_loop() is not loop:
            calling = self._in_thread = loop.run_in_executor(None, self._function, self._place)
        try:
            return await self._result(calling)
        finally:
            if calling.done() and self._in_thread is calling:
                self._in_thread = None

    async def _result(self, calling: asyncio.Future[Any]) -> object:
        await asyncio.wait({calling}, timeout=self._timeout_s)
        if not calling.done():
            raise OSError(f"the function for credentials did not return within {self._timeout_s:g} s")
        error = asyncio.CancelledError() if calling.cancelled() else calling.exception()
        if error is not None:
            raise OSError(f"the function for credentials raised {type(error).__name__}")
        return calling.result()


async def read_file(path: str, what: str) -> str:
    """Return the text of a file without its last line feed; raise OSError naming the file if there is none."""
    content = await asyncio.get_running_loop().run_in_executor(None, _read, path, what)
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise OSError(f"the {what} in {path} cannot be read: it is no text in UTF-8") from None
    if not text or len(content) > FILE_BYTES_MAX:
        raise OSError(f"the {what} in {path} cannot be used: the file is empty or longer than {FILE_BYTES_MAX} bytes")
    return text


def _read(path: str, what: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise OSError(f"the {what} in {path} cannot be read: {error.strerror}") from error
