"""Rate limits: from what a policy says to what a limiter answers.

inspect     what operators ask: problems of a policy, and why a key is refused
limiter     the verbs
calls       calls to the store and what saves them: batches, waits, reservations, leases, the cache of refusals
outage      decisions while the store does not answer
wire        requests as the scripts take them, and their replies
algorithms  the rules, pure, each the twin of a Lua file
decision    what is answered
policy      what is allowed: limits, lists, notation, and the set of policies

Each line imports only from lines below it.
"""
