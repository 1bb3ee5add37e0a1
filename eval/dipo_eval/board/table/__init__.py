"""Checkpoints compared: paired differences, the leaderboard, and the same as Markdown and CSV."""
