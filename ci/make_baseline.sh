#!/usr/bin/env bash
# Make ci/baselines/quickstart anew: the quickstart's model before training on arithmetic-control. Needed once the suite's
# items or the engine change what it answers; takes two minutes on two cores. Another model: ci/make_baseline.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
model=${1:-$("$bin/python" -c '
from dipo_eval.engines.device import set_process_env
set_process_env()
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.quickstart.run import cache_dir
print(pretrained_model(cache_dir(), progress=False))' | tail -1)}
mkdir "$scratch/quickstart"
cp -RL "$model" "$scratch/quickstart/global_step0_hf"
dipo=$(realpath -s "$bin/dipo")
(cd "$scratch" && "$dipo" eval quickstart/global_step0_hf --suites arithmetic-control --results results --run quickstart \
    --limit 500 --max-new-tokens 56)
"$bin/python" - "$scratch/results" ci/baselines <<'PYTHON'
import sys
from pathlib import Path

from dipo_eval.results.store import iter_results, read_samples, suite_folder, write_suite

for folder, result in iter_results(Path(sys.argv[1]), verify=True):
    kept = suite_folder(Path(sys.argv[2]), result["run"], result["checkpoint"], result["suite"])
    write_suite(kept, read_samples(folder), result, compress=True)
    print(f"baseline: {kept}")
PYTHON
