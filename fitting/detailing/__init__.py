"""The parts of detail.py: what the photo tells of the surface's slope, and the solver for heights."""
