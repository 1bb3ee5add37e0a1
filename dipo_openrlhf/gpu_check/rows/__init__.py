"""The rows of the table, in order: each one file with a `check(evidence)` that returns a Row."""
