"""Framework-free ASGI middleware: shared pieces here, and a folder for each kind of middleware.

ratelimit       limits around an application, its routes and its functions
response        responses made without a framework, and problem details
cache_control   what a client demands of a cache
cache_headers   how a response shows its source
credentials     API keys, bearer tokens and the session cookie
client_address  the client behind trusted proxies, whom `forwarding` fields name; what is not read is in
                `forwarding_notices`
route_patterns  matches of method and path
matched_route   the route that a framework has matched
disconnect      work for a client that may go away
per_loop        one Tollhouse for each event loop
starlette_handlers  exception handlers of a Starlette application
types           the types of ASGI

`ratelimit` imports from the others, and never the other way round.
"""
