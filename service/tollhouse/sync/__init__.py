"""Synchronous callers: threads without an event loop."""
