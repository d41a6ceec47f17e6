"""The only code that talks to Redis and Valkey.

status        the state of one store, for health checks
opening       the four stores from their URLs
store, fake   one store: runs scripts, on a server or in this process
embedded      the server that this process starts
connections   those of one store, and whether it answers
calls         sends scripts, decides what may be sent again, and says what a failed call may have done
rights        the commands that a store can do without, and what that costs
replication   whether replicas acknowledge what the primary takes, and what the primary is called
replica_shortage   how calls wait while the primary has no replica to write to
reconnecting, circuit_breaker, replay, subscriber, durability   connections that last, and what they promise
arguments     what a script is given, and what it returns
discovery     finds the primary
succession    what could replace it, and whether a write has reached all of that
transport     one connection: bytes, handshake, errors, reconnecting
urls          the addresses of servers, as users write them

Each line imports only from lines below it.
"""
