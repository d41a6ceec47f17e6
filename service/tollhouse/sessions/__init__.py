"""Sessions: tokens, and the verbs that create, verify, list and revoke sessions."""
