"""Validated requests and compiled policies as the scripts take them, and the decoding of their replies."""
