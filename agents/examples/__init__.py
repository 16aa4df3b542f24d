"""Agents of one's own in the dream; each file stands alone and runs as `python -m rise_gym.agents.examples.<name>`."""
