"""Render results as tables."""
