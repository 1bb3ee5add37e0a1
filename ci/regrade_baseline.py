"""Grade the stored responses of a baseline with today's grader, so that a change of the grader makes no baseline useless.

    python ci/regrade_baseline.py RESULTS/RUN/CHECKPOINT

Needs no model. A suite whose items have changed (or whose data file is not in DIPO_DATA_DIR) is skipped, and the gate
says why it cannot be compared. ci/gate.sh runs this on its own copy of the baseline.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.runner.regrade import regrade_result


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    data_dir = os.environ.get("DIPO_DATA_DIR")
    for result in sorted(Path(sys.argv[1]).glob("*/results.json")):
        try:
            print(f"baseline {regrade_result(result.parent, Path(data_dir) if data_dir else None)}")
        except UserError as error:
            print(f"baseline: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
