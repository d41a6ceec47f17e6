"""Sessions over HTTP: the caller's session, its other sessions, and their revocation.

bodies      bodies that are sent
current     the caller's session
data        its data
devices     the caller's sessions: list and revoke
etags       versions of data in conditional requests
routes      all of them
"""
