"""Runs a state machine on every kind of world, as often as the profile of Hypothesis says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.worlds import StoreWorld, embedded_world, fake_world

OpenWorld = Callable[[], AbstractAsyncContextManager[StoreWorld]]

on_each_world = pytest.mark.parametrize("kind", ["fake", "embedded"])


def examples(kind: str) -> int:
    """Return a quarter of the profile's examples, because each is a history, and a fifth of these on fakeredis.

    What fakeredis is asked repeats what the real server is asked, to find where the two differ.
    """
    histories = settings.default.max_examples // 4
    return histories // 5 if kind == "fake" else histories


def run_machine(make: Callable[[OpenWorld], RuleBasedStateMachine], kind: str, valkey_socket: Path) -> None:
    """Run the machine that `make` returns for a world of this kind."""

    def open_world() -> AbstractAsyncContextManager[StoreWorld]:
        return fake_world() if kind == "fake" else embedded_world(valkey_socket)

    chosen = settings(max_examples=examples(kind), stateful_step_count=30)
    run_state_machine_as_test(lambda: make(open_world), settings=chosen)
