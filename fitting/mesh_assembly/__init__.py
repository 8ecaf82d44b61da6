"""Normal equations through a mesh: sums per triangle in, equations of pose and coefficients out."""
