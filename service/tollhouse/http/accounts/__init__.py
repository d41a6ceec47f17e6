"""Accounts over HTTP: sign-up, login and logout; `routes` has all of them."""
