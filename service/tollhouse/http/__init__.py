"""The HTTP interface: Litestar handlers, one module per resource.

accounts, ai, cache, health, limits, sessions   routes
authentication   identifies the caller; guards that require a role
cookies          the session cookie
csrf             which unsafe requests of browsers are accepted
problems         exceptions to problem details
"""
