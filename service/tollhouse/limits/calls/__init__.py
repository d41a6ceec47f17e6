"""Calls to the store: when they are sent, together with which others, and what need not be asked."""
