"""Failover drills: a fault, a workload that goes on meanwhile, and a report of the damage.

runner     runs every round of a drill
report     the figures beside their bounds, as Markdown and as a chart
round      one round: a client under load, a fault, and the data afterwards
faults     what is broken, and how; `storm` cancels calls, `links` are what connects the nodes
observer   what Sentinels and servers say meanwhile, and which writes survived
workload   the calls, due by a schedule
clients    the library, the service over HTTP, and redis-py
results    figures from the history of a round
"""
