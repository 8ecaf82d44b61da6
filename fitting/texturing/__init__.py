"""The parts of texture.py: what the photo shows of the surface, how it is sampled, and how the rest is filled."""
