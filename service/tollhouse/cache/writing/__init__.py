"""Values that are written: to their source, and for readers.

through  the source first, then the cache
"""
