"""Stored results: written, read within bounds, checked and compared."""
