"""Agents: observation to action chunk, and the ways to improve them."""
