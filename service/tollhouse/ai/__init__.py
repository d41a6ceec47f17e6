"""AI results: models, canonical inputs, and answers from the cache."""
