"""The HTTP interface: Litestar handlers, one module or folder per resource.

accounts, ai, cache, health, limits, sessions   routes
api_keys         what a key allows, and how many wrong ones an address may send
authentication   identifies the caller; guards that require a role
cookies          the session cookie
csrf             which unsafe requests of browsers are accepted
headers          what every response says
openapi          credentials and problems in the OpenAPI document
problems         exceptions to problem details
renewal          another token for a browser whose session is due for it
"""
