"""Processes that grade, with a time limit."""
