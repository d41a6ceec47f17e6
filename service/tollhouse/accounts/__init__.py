"""Accounts: sign-up and login over the session and limit features."""
