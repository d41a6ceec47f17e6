"""Accounts: sign-up and login, over sessions and limits."""
