"""Decisions while the store does not answer: the outage rule of each policy, and what a process counts by itself."""
