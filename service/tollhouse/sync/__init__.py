"""For callers that are no coroutines."""
