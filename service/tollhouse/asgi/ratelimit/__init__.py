"""Limits around an ASGI application: which requests meet which policy, and how a refusal is answered."""
