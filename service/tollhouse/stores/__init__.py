"""The only code that talks to Redis and Valkey.

status        what a server says of itself, for health checks
opening       the four stores from their URLs
store, fake   one store: runs scripts, on a server or in this process
embedded      the server that this process brings along
reconnecting, subscriber, durability   connections that last, announcements, writes that survive
discovery     where the primary is
transport     one connection: bytes, login, kinds of failure
urls          where servers are, as users write it

Each line imports only from lines below it.
"""
