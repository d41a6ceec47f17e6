"""The stream of session events, for administrators."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery, HeaderParameter

from tollhouse.errors import InvalidInput
from tollhouse.http.openapi import problems
from tollhouse.http.sessions.event_stream import MEDIA_TYPE, EventStream, EventStreams
from tollhouse.sessions.events.event import SessionEvent
from tollhouse.sessions.sessions import Sessions

LAST_EVENT_ID: Final = "Last-Event-ID"

_STREAM: Final = ResponseSpec(
    SessionEvent,
    generate_examples=False,
    media_type=MEDIA_TYPE,
    description="A stream without an end. Each message has an id, the kind of the event, and the event as its data.",
)


@get(
    "/events",
    responses={200: _STREAM, **problems(400, 401, 403, 429, 503)},
    opt={"query": ("user", "kind"), "several": ("kind",), "endless": True},
)
async def stream_events(
    sessions: NamedDependency[Sessions],
    streams: NamedDependency[EventStreams],
    after: Annotated[str | None, HeaderParameter(name=LAST_EVENT_ID)] = None,
    user: FromQuery[str | None] = None,
    kind: FromQuery[list[str] | None] = None,
) -> EventStream:
    """Stream what happens to sessions as Server-Sent Events: from now on, or what followed `Last-Event-ID`.

    Each event comes at least once. `?user=` and `?kind=`, which may come several times, choose events. The message
    `gap` says that some may have been missed.
    """
    try:
        reader = sessions.events(after, user=user, kinds=kind or ())
    except InvalidInput as error:
        field = LAST_EVENT_ID if error.field == "after" else error.field
        extra = {"field": field, "remedy": error.remedy}
        raise HTTPException(f"{field}: {error.remedy}", status_code=400, extra=extra) from error
    return EventStream(streams, reader)


HANDLERS = [stream_events]
