"""The only code that talks to Redis and Valkey."""
