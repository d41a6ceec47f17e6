"""The cache: read-through with leases, tags by logical clock, and one load per key over all processes."""
