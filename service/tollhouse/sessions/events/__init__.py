"""Session events: what happened to sessions, as the scripts that make each change write it down.

`reader` < `shard` < `event`
"""
