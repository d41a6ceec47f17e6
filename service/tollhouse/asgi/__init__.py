"""Framework-free ASGI middleware."""
