"""What the service says of itself at its root, to a person or a program that only knows its address."""

from __future__ import annotations

from importlib.metadata import metadata
from typing import Final

from litestar import Response, get
from msgspec import Struct

_PACKAGE: Final = metadata("tollhouse")


class About(Struct, frozen=True, kw_only=True):
    """The name and version of the service, and the paths of its OpenAPI document and of its readiness."""

    name: str = _PACKAGE["Name"]
    version: str = _PACKAGE["Version"]
    about: str = _PACKAGE["Summary"]
    schema: str = "/schema"
    ready: str = "/readyz"


_ABOUT: Final = About()


@get("/")
async def root() -> Response[About]:
    """Return what this is, and which paths to read next; no store is called."""
    return Response(_ABOUT)


HANDLERS = [root]
