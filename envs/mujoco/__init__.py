"""The MuJoCo replica: the ground truth that the imagined environment is checked against."""
