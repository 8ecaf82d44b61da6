"""facefit: fit a 3D morphable face model to one ordinary photo."""
