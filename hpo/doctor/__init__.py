"""What is wrong with a study, its files or this machine, and the command that mends it."""
