"""Finds problems of a study, its files or this machine, and names the command that fixes each."""
