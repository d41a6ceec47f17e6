"""The verbs of accounts; `password_check` is what those that take a password share."""
