"""Policies: how limits are written, who is let through or refused by name, and which policies there are."""
