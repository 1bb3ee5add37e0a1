"""`dipo rehearse`: a recipe for a GPU cluster, run with its own switches on a few CPU cores."""
