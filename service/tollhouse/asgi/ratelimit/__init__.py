"""Limits around an ASGI application: which requests meet which policy, and the response to a refusal.

middleware        RateLimitMiddleware, for any application
decorator         `@limit`, for any function
inline            limits written in the code, used by `@limit` and FastAPI
enforcer          applies a rule to each request
websocket         the same for connections and their messages
rules             RateLimitRule, and the form that it is compiled to
current           the request that is being served here: its decisions, and the response to its refusal
request_context   the decisions about one request, and what its response says of them
key_rules         the key of a request
refunds           which responses are charged
limiter_source    the limiter, with the policies, proxies, dialect and sessions of its settings
refusal_response  the response to a refusal
refusal_handlers  responses of the application's own
headers           RateLimit fields
"""
