"""Grade the stored responses of a baseline with today's grader, so that a change of the grader makes no baseline useless.

    python ci/regrade_baseline.py RESULTS/RUN/CHECKPOINT

Needs no model. A suite whose items are no longer the same (or whose data file is not in DIPO_DATA_DIR) is left as it is,
and the gate says why it cannot be compared. ci/gate.sh runs this on its own copy of the baseline.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.results.store import read_result, samples_file, write_suite
from dipo_eval.runner.provenance import items_sha256, suite_hash
from dipo_eval.runner.regrade import read_stored, regrade
from dipo_eval.runner.task import measured, verdict_fields
from dipo_eval.suites import get_suites


def regrade_suite(folder: Path, data_dir: Path | None) -> str:
    """Grade one suite's folder again where its grader has changed; one line on what was done. Raises UserError."""
    result = read_result(folder)
    path = samples_file(folder)
    if result is None or path is None:
        raise UserError(f"{folder}: no whole result")
    (suite,) = get_suites([result["suite"]])
    items = suite.load(data_dir, result["settings"]["limit"], result["settings"]["seed"])
    if items_sha256(items) != result["hashes"]["items_sha256"]:
        raise UserError(f"{folder}: its items are not today's: make the baseline again")
    now = suite_hash(suite, items)
    if now == result["hashes"]["suite_hash"]:
        return f"{suite.name}: graded by this grader already"
    graded = regrade(read_stored(path), suite)
    rows = [one.stored.row | verdict_fields(one.verdict) for one in graded]
    made = {
        **result,
        **measured(suite, rows, result["versions"]),
        "hashes": {**result["hashes"], "suite_hash": now},
    }
    write_suite(folder, rows, made, compress=path.suffix == ".zst")
    return f"{suite.name}: graded again, {sum(one.changed for one in graded)} of {len(rows)} verdicts changed"


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    data_dir = os.environ.get("DIPO_DATA_DIR")
    for result in sorted(Path(sys.argv[1]).glob("*/results.json")):
        try:
            print(f"baseline {regrade_suite(result.parent, Path(data_dir) if data_dir else None)}")
        except UserError as error:
            print(f"baseline: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
