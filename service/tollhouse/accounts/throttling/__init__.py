"""How often a password may be guessed."""
