"""Environments: imagined, simulated, real, behind the same spaces."""
