"""What is stored of an account, and under which secret."""
