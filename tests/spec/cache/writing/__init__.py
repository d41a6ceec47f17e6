"""Specifications of writes through and behind the cache."""
