"""Verbs of sessions, each with its results: create and resume, rotate and renew, impersonate, ... and data."""
