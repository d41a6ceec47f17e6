"""What a drill finds in the history of its calls."""
