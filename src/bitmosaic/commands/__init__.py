"""Commands: thin wrappers of the library; the function of a command is in the file of its name."""
