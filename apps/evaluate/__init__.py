"""The command that measures fits against ground truth."""
