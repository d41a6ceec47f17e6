"""Sessions over HTTP: the caller's session, its other sessions, and their revocation.

bodies      bodies that are sent
current     the caller's session
devices     the caller's sessions: list and revoke
routes      all of them
"""
