"""A permit that is held for a while, as its holder knows it."""

from __future__ import annotations

import asyncio

from msgspec import Struct, field

from tollhouse.limits.decision import Decision


class Lease(Struct, frozen=True, kw_only=True):
    """The answer to a wish for a permit, and the name under which it is held.

    `id` is None where nothing is held: the wish was refused, or allowed without a permit, by a list, by a shadow or by
    `open` in an outage. `loss` is set when a `hold` finds that its permit may be somebody else's by now.
    """

    decision: Decision
    id: str | None = None
    lost_event: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_lost(self) -> bool:
        """Tell whether the permit was lost while it was held."""
        return self.lost_event.is_set()
