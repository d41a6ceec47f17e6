"""The role that a server reports, read from its replies."""

from __future__ import annotations

import pytest

from tollhouse.stores.discovery.role_probe import Primary, Replica, read_greeting, read_role
from tollhouse.stores.succession import AttachedReplica

UNREADABLE = AttachedReplica(host=("", 0), offset=-1)
ROLES = [
    ([b"master", 100, []], Primary(offset=100)),
    ([b"primary", 100, []], Primary(offset=100)),
    ([b"master"], Primary()),
    (
        [b"master", 100, [[b"10.0.0.2", b"6379", b"98"], [b"10.0.0.3", b"6379", b"-1"], [b"", b"1", b"9"], b"?"]],
        Primary(offset=100, replicas=(AttachedReplica(host=("10.0.0.2", 6379), offset=98), *(UNREADABLE,) * 3)),
    ),
    ([b"slave", b"10.0.0.1", 6379, b"connected", 100], Replica(primary=("10.0.0.1", 6379))),
    ([b"slave", b"", 0, b"connect", -1], Replica(primary=None)),
    ([b"sentinel", [b"main"]], Replica(primary=None)),
    (b"OK", Replica(primary=None)),
]


@pytest.mark.parametrize(("reply", "role"), ROLES)
def test_roles_are_read(reply: object, role: Primary | Replica) -> None:
    """Only a server that reports the primary role is one."""
    assert read_role(reply) == role


def test_roles_of_greetings_are_read() -> None:
    """HELLO reports the role too; a greeting without one is that of a replica."""
    assert read_greeting({b"role": b"master"}) == Primary()
    assert read_greeting({b"role": b"replica"}) == Replica(primary=None)
    assert read_greeting({}) == read_greeting([b"role", b"master"]) == Replica(primary=None)
