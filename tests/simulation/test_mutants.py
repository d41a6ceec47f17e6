"""The invariants notice what they are for: each mutant of the package breaks one of them, with a seed that is known."""

from __future__ import annotations

import os

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, broken, mutated, recorded, search

SEEDS = range(120)
"""Tried when the seed in the table breaks nothing any more, as after a change of the library's timing."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    """With one line replaced, the seed in the table breaks a rule; `make simulate-mutants` writes the table."""
    seed, _ = recorded()[mutant.name]

    with mutated(mutant) as folder:
        found = broken(folder, range(seed, seed + 1))
    assert found or search(mutant, SEEDS, os.cpu_count() or 1) is not None
