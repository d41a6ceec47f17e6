"""Quota leases: units of busy keys that a process took in advance, and admits from without the store.

leases   the leases of this process, by key, and whether a key is busy enough for another
lease    one lease: what is left of it, and until when
demand   how many units of a key this process takes in a second

Nothing here calls the store: `calls/quota_calls.py` fetches leases and gives back what is left of them.
"""
