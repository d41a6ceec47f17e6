"""Litestar handlers, one file per resource."""
