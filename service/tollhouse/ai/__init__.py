"""AI results: models, canonical inputs, and outputs through the cache."""
