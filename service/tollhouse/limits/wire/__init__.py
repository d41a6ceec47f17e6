"""What travels to the scripts of limits, and what comes back."""
