"""Decisions without a store."""
