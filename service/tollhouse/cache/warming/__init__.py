"""Values that are in the cache before they are asked for.

key_list  keys of a list           bounded  the items of a list, some at a time
report    what a warming came to   costs    which keys cost most
keep      the costliest keys, while they are read
"""
