"""Sessions: tokens, and the object that creates, verifies and ends them."""
