"""Sessions over HTTP: the caller's session and its other sessions; for services and administrators, those of any user.

administration   the sessions of any user, for administrators
bodies           bodies that several of them send
cap              a login at the cap goes on
current          the caller's session and its token
data             its data
devices          the caller's sessions: list and revoke
etags            versions of data in conditional requests
event_stream     Server-Sent Events, and how many streams there are
events           what happens to all sessions, as a stream for administrators
introspection    begin a session, step one up, and introspect a token, for services
reauthentication a session is stepped up by the password of its user
routes           all of them
"""
