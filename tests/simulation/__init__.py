"""Deterministic simulation: clients, servers and Sentinels on one virtual clock and one virtual network.

loop         the event loop whose time only the scheduler moves
trace        what a run delivered: its digest, and lines for people
network      machines, links and connections; the dialer of a simulated process
"""
