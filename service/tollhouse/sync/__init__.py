"""Threads that have no event loop: a loop of their own, and work that they do while they wait for it."""
