"""The photometric stage: pose, shape, light and albedo from the pixels."""
