"""What a drill drives: the library, the service over HTTP, and redis-py for comparison."""
