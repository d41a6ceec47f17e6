"""Failover drills: a fault, a workload that goes on meanwhile, and a report on what it cost."""
