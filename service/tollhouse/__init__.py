"""Tollhouse keeps sessions, rate limits and cached results right on Redis and Valkey."""
