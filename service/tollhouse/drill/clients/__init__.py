"""Clients under drill: the library, the service over HTTP, and redis-py for comparison."""
