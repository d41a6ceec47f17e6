"""Durability: writes that outlive their server, confirmed by replicas or by the server's append-only file.

group_commit   one confirmation for all calls that meet
replicas       what the replicas of a primary have acknowledged
append_file    whether the append-only file was synced
"""
