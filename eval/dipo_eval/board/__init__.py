"""The leaderboard page: one self-contained HTML file from results folders and training logs."""

from dipo_eval.board.data.runlog import RunLog, read_run_log
from dipo_eval.board.page.render import write_board

__all__ = ["RunLog", "read_run_log", "write_board"]
