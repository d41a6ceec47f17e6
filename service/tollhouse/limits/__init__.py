"""Rate limits: policies, the rules of each algorithm, and the limiter that asks a store."""
