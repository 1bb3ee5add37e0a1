"""Other people's official scores of the generations that we graded. A new one: a file here, a line in registry.py."""
