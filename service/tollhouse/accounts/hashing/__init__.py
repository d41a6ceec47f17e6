"""Hashes of passwords: Argon2id under a pepper, in bounded threads and memory."""
