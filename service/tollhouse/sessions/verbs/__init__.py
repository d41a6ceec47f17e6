"""Verbs of sessions, each with its results: rotate and renew, disable and enable, and the data of a session."""
