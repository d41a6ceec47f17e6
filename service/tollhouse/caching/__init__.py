"""The cache under the names that people know: decorators, and keys from the arguments of functions.

canonical       values -> bytes               arguments     calls -> digests
templates       `{name}` in tags              returned      the type that a function returns
function_cache  the entries of one function   target        what `cache=` may be
decorators      rcached, cache_response       invalidating  invalidate_cache, invalidate_cache_for
facade          CacheManager, CacheService    serializers   objects of classes that msgspec does not know
keys            CacheKeys                     warming        the results of calls of a list
"""
