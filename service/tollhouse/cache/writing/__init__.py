"""Values that are written: to their source, and for readers.

through  the source first, then the cache    behind    the cache first, then the source
queue    writes that wait                    consumer  applies them
"""
