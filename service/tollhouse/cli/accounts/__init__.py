"""`tollhouse accounts`: what an operator asks of accounts."""
