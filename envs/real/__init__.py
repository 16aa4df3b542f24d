"""Real robots behind the spaces of the dream and the replica; see `rise_gym.envs.real.env.RealEnv`."""
