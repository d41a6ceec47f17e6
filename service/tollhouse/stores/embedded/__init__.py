"""Servers that this process starts, watches and stops."""
