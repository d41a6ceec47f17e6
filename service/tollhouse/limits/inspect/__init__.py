"""Policies and keys as operators see them."""
