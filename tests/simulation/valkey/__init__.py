"""A Valkey server and a Sentinel in plain Python, as far as Tollhouse relies on them.

keyspace     keys, and the commands on them            scripting    the real Lua, over a keyspace
replies      bytes of replies                          commands     what connections may send
clients      connections, and who waits for what       server       one server: its start, its end, its connections
replication  both ends of a replication link           states       offsets, histories and links
handovers    FAILOVER: the primary hands over
sentinel     one Sentinel                              elections    votes, and the steps of a failover
views        what a Sentinel has seen of the others    sentinel_replies  the replies of SENTINEL
"""
