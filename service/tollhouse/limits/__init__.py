"""Rate limits: policies, the limiter's verbs, and how they decide with and without a store.

inspect     for operators: problems of policies, and why a key is refused
limiter     the verbs
calls       calls to the store and what saves them: batches, waits, reservations, leases, the cache of refusals
outage      decisions while the store does not answer
wire        requests as the scripts take them, and their replies
algorithms  the algorithms as pure functions, each the twin of a Lua script
decision    the values that the verbs accept and return
policy      limits, notations, access lists, and the set of policies in force

Each line imports only from lines below it.
"""
