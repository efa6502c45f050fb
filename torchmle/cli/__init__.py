"""Fit models from a command line."""
