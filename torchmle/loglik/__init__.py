"""Evaluate log-likelihoods: additive moments over row chunks, for declarative and opaque models."""
