"""The command `insight`: each module in here is a command or a group, found by its name."""
