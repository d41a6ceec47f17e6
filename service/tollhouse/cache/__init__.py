"""Cached results: leases, tags by logical clock, one load per key."""
