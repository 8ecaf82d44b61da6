"""What a camera sees: cameras, light, rasterisers and pictures."""
