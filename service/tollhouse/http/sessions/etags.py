"""Entity tags of session data (RFC 9110, 8.8.3): each version has one, and what a request says of it is read strictly.

A client that sends a condition relies on it, so one that cannot be read is refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from litestar.exceptions import HTTPException

_OPAQUE: Final = r'"[!#-~\x80-\xff]*"'
_LIST: Final = re.compile(rf"[ \t]*(?:W/)?{_OPAQUE}[ \t]*(?:,[ \t]*(?:W/)?{_OPAQUE}[ \t]*){{0,31}}")
_TAG: Final = re.compile(_OPAQUE)
_OWS: Final = " \t"
_VERSION: Final = re.compile(r"[1-9][0-9]{0,13}")
_ANY: Final = "*"


def etag(version: int) -> str:
    """Return the tag of a version, which is strong: equal versions have equal values."""
    return f'"{version}"'


def expected_version(if_match: Sequence[str]) -> int | str | None:
    """Return the version that a change is for, by the If-Match fields of a request; None if it is for any.

    A tag that no version has is returned as text. Raises 400 for a weak one, which never matches (RFC 9110, 13.1.1),
    and for more than one, of which only one could.
    """
    fields = ",".join(if_match).strip(_OWS)
    if not if_match or fields == _ANY:
        return None
    if _TAG.fullmatch(fields) is None:
        raise _unreadable("If-Match", f"send one tag as a response had it, such as {etag(1)}, or *")
    opaque = fields[1:-1]
    return int(opaque) if _VERSION.fullmatch(opaque) else opaque


def is_current(if_none_match: Sequence[str], version: int) -> bool:
    """Return whether a client has this version already, by its If-None-Match fields; raises 400 for other text."""
    if not if_none_match:
        return False
    fields = ",".join(if_none_match).strip(_OWS)
    if fields == _ANY:
        return True
    if _LIST.fullmatch(fields) is None:
        raise _unreadable("If-None-Match", f"send tags as responses had them, such as {etag(1)}, or *")
    return etag(version) in _TAG.findall(fields)


def _unreadable(name: str, remedy: str) -> HTTPException:
    return HTTPException(f"{name}: {remedy}", status_code=400, extra={"field": name, "remedy": remedy})
