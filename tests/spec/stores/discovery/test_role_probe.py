"""The role that a server reports, read from its replies."""

from __future__ import annotations

import pytest

from tollhouse.stores.discovery.role_probe import Primary, Replica, read_greeting, read_role

ROLES = [
    ([b"master", 100, []], Primary()),
    ([b"primary", 100, []], Primary()),
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
