"""Maximise: one loop, and the methods that take its steps."""
