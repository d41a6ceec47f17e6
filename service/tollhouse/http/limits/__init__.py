"""Limits over HTTP: the routes, and below them a fast path for takes.

fast_path   answers plain takes below ASGI
routes      the documented handlers of every verb
openapi     how the OpenAPI document describes refusals and problems
responses   status, fields and body of a decision, for the routes and the fast path alike
schemas     bodies that are sent and received
written     responses as the fast path writes them
"""
