"""Second factors: codes by time, recovery codes, and the tickets of logins that wait for one of them.

totp.py       one-time passwords by time (RFC 6238), whose seeds are derived and not stored
recovery.py   recovery codes, of which hashes are stored
tickets.py    logins whose password was right, until their second factor follows
"""
