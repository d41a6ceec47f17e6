"""Policies: values, their notation, their allow and deny lists, and the set of policies in force."""
