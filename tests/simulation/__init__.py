"""Deterministic simulation: clients, servers and Sentinels on one virtual clock and one virtual network.

__main__     many schedules, from the command line
shrink       makes a schedule that breaks a rule small
run          one schedule: what breaks, what is called, and the verdict
invariants   what no schedule may break; `session_rules` of rotations, disabled users and data, `findings` the terms
faults       how things break and are repaired
world        the network, the cluster and the processes of one run
clients      simulated processes, and the calls that they perform
schedules    a seed -> servers, faults and calls
history      what processes did, and the tokens of every session
network      machines, links and connections; the dialer of a simulated process
trace        what a run delivered: its digest, and lines for people
loop         the event loop whose time only the scheduler moves

`races` and `session_races` need no cluster: one server, and links on which calls are late or lost.
"""
