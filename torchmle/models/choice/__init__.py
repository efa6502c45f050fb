"""Models of discrete choice."""
