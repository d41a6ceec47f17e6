"""What operators ask: problems of policies, and why a key is refused."""
