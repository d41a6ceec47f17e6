"""What a drill says at the end: bounds, figures, text and pictures."""
