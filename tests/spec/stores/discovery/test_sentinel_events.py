"""What Sentinels announce, and what each announcement means."""

from __future__ import annotations

import pytest

from tollhouse.stores.discovery.sentinel_events import (
    CHANNELS,
    TEXT_MAX,
    FailoverAborted,
    Promotion,
    SentinelEvent,
    TopologyChange,
    read_event,
)

PROMOTION = Promotion(new_primary=("10.0.0.2", 6379), old_primary=("10.0.0.1", 6379))
OF_A_REPLICA = "slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379"
OF_THE_PRIMARY = "master main 10.0.0.1 6379"

#    channel, text, the event
MESSAGES: list[tuple[str, str, SentinelEvent | None]] = [
    ("+switch-master", "main 10.0.0.1 6379 10.0.0.2 6379", PROMOTION),
    ("+switch-master", "other 10.0.0.1 6379 10.0.0.2 6379", None),
    ("+switch-master", "main 10.0.0.1 6379 10.0.0.2 port", None),
    ("+selected-slave", OF_A_REPLICA, PROMOTION),
    ("+failover-state-wait-promotion", OF_A_REPLICA, PROMOTION),
    ("+promoted-slave", OF_A_REPLICA, PROMOTION),
    ("+promoted-slave", OF_A_REPLICA.replace("main", "other"), None),
    ("+promoted-slave", OF_A_REPLICA.replace(" 10.0.0.2 6379", " 10.0.0.2 0"), None),
    ("-failover-abort-slave-timeout", OF_THE_PRIMARY, FailoverAborted()),
    ("-failover-abort-not-elected", OF_THE_PRIMARY, TopologyChange(channel="-failover-abort-not-elected")),
    ("+odown", f"{OF_THE_PRIMARY} #quorum 2/2", TopologyChange(channel="+odown")),
    ("-odown", OF_THE_PRIMARY, TopologyChange(channel="-odown")),
    ("+reboot", OF_THE_PRIMARY, TopologyChange(channel="+reboot")),
    ("+convert-to-slave", OF_A_REPLICA, TopologyChange(channel="+convert-to-slave")),
    ("+slave", OF_A_REPLICA, TopologyChange(channel="+slave")),
    ("+sentinel", "sentinel 1e2c 10.0.0.13 26379 @ main 10.0.0.1 6379", TopologyChange(channel="+sentinel")),
    ("+odown", "master other 10.0.0.1 6379", None),
    ("+odown", "", None),
    ("+odown", f"{OF_THE_PRIMARY} {'x' * TEXT_MAX}", None),
]


@pytest.mark.parametrize(("channel", "text", "event"), MESSAGES)
def test_announcements_have_a_meaning(channel: str, text: str, event: SentinelEvent | None) -> None:
    """A message of our service is a promotion, an abort or another change; any other is ignored."""
    assert read_event(channel, text, "main") == event


@pytest.mark.parametrize("channel", [message[0] for message in MESSAGES])
def test_every_meaningful_channel_is_subscribed_to(channel: str) -> None:
    """A client subscribes to every channel that it can read."""
    assert channel in CHANNELS
