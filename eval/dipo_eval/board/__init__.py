"""The leaderboard page: one self-contained HTML file from results folders and training logs."""

MAX_SAMPLES = 200
"""In a page, for each checkpoint and suite, unless the command says otherwise."""
