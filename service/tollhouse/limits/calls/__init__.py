"""Calls to the store: batching, waiting, reservations and leases, and the cache of refusals that saves calls."""
