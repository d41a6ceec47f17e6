"""Requests that are answered below ASGI, and those that are left to it after all."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.http.client import settings_at
from tests.http.twins import Line
from tollhouse.serving import ServingConfig
from tollhouse.serving.fast_path import new_scope


async def ignore(scope: Any, receive: Any, send: Any) -> None: ...


async def test_a_scope_begins_as_that_of_uvicorn() -> None:
    """An application sees no difference: a scope has what uvicorn gives to it before the request line is read."""
    config = ServingConfig(lambda: ignore, settings_at("fake://"))
    config.load()
    line = Line(config)

    HttpToolsProtocol.on_message_begin(line.protocol)

    assert new_scope(line.protocol, line.protocol.headers) == line.protocol.scope
    await line.end()
