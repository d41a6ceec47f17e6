"""Figures of a drill, from the history of its calls: pure functions, with no I/O."""
