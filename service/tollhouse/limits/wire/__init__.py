"""Validated requests, compiled policies and batches as the scripts take them, and the decoding of their replies."""
