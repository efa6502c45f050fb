"""Hold estimates to constraints that are true with a stated probability."""
