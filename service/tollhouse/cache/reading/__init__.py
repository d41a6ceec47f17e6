"""Reads through the cache: over flights over loads; `read_through.py` proves that no stale value is served."""
