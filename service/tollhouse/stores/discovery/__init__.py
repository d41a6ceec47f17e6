"""Which server is the primary, found through Sentinels, a list of servers, or the URL alone.

locator            what a store asks: the address, the login, the health; a single server
sentinel_resolver  the primary of a Sentinel service        static_resolver  the primary among listed servers
rounds             what both share: doubts, rounds, callers, subscribers
primary_history    generations and quarantine               role_probe       the role that a server reports
sentinel_pool      all Sentinels of a service               sentinel_client, _replies, _events   one Sentinel
quorum             votes, candidates, members (pure)        failover_hints, unavailable   what a failure means
timing             how long, how often
"""
