"""The command that turns photos into fitted faces."""
