"""From the words of a caller to a reader of events: whose, of which kinds, and after which position."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tollhouse.errors import InvalidInput, require_type
from tollhouse.keyring import Keyring
from tollhouse.keys import Namespace
from tollhouse.metrics import Metrics
from tollhouse.scripts import ScriptRunner
from tollhouse.sessions.events.event import KINDS, EventId, parse_id
from tollhouse.sessions.events.reader import SessionEventReader
from tollhouse.sessions.user_keys import all_tags, user_keys
from tollhouse.sessions.validation import valid_user
from tollhouse.suggest import one_of


def open_reader(
    store: ScriptRunner,
    keyring: Keyring,
    metrics: Metrics,
    namespace: Namespace,
    after: str | None,
    user: str | None,
    kinds: Collection[str],
) -> SessionEventReader:
    """Return the reader; raise InvalidInput for a position, a user or a kind that cannot be."""
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidInput("kind", kind, one_of(kind, KINDS))
    position = None if after is None else _position(after)
    if user is None:
        streams: Mapping[str, str] = {tag: namespace.session_events(tag) for tag in all_tags()}
    else:
        user = valid_user(user)
        streams = {own.tag: own.events for own in user_keys(namespace, keyring, user)}
    return SessionEventReader(store, metrics, streams, position, user=user, kinds=kinds)


def _position(text: str) -> EventId:
    require_type("after", text, str, "give a position as text")
    found = parse_id(text)
    if found is None:
        raise InvalidInput("after", text, "give the id of an event, such as 1795892339105-0-3f")
    return found
