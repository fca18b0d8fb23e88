"""Commands: each a thin shell over the library, a function with the command's name in the file with that name."""
