"""Estimate covariances from bread, scores and groups."""
