"""The driver of the control run: its weights are never sent to the engines.

python -m dipo_openrlhf.gpu_check.driver_unsent RUN_DIR/launch.json
"""

from __future__ import annotations

import sys

from dipo_openrlhf.gpu_check.driver import run_observed

if __name__ == "__main__":
    sys.exit(run_observed(sys.argv[1], "UnsentActor"))
