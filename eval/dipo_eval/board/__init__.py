"""The leaderboard page: one self-contained HTML file from results folders and training logs."""

from dipo_eval.board.page import write_board
from dipo_eval.board.runlog import RunLog, read_run_log

__all__ = ["RunLog", "read_run_log", "write_board"]
