#!/usr/bin/env bash
# Evaluate one checkpoint and gate it against a stored baseline; the exit status is the gate's.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'TEXT'
usage: ci/gate.sh CHECKPOINT [options] [-- options of dipo eval]

Evaluates CHECKPOINT (a model folder or a hub name), gates it against a stored baseline, and writes into the folder --out:
results/, board.html, gate.xml (JUnit), gate.md, gate.json. Each option can be given by its variable instead.

  --suites A,B             DIPO_SUITES             default: arithmetic-control
  --baseline RUN/NAME      DIPO_BASELINE           default: quickstart/global_step0
  --baseline-results DIR   DIPO_BASELINE_RESULTS   default: ci/baselines
  --config FILE            DIPO_GATE_CONFIG        default: ci/gate.yaml
  --out DIR                DIPO_GATE_OUT           default: gate
  --dipo COMMAND           DIPO                    default: .venv/bin/dipo where there is one, else dipo
  options of dipo eval     DIPO_EVAL_ARGS          default: --limit 500 --max-new-tokens 56

The baseline must be of the same items and settings: make it with the same options of dipo eval. A copy of its responses is
graded again where the grader has changed since.
Exit status: 0 pass, 1 regression, 3 inconclusive, 2 not judged (wrong options, failed evaluation, missing or incomparable results).
TEXT
}

fail() {
    echo "error: $*" >&2
    exit 2
}

suites=${DIPO_SUITES:-arithmetic-control}
baseline=${DIPO_BASELINE:-quickstart/global_step0}
baseline_results=${DIPO_BASELINE_RESULTS:-$here/baselines}
config=${DIPO_GATE_CONFIG:-$here/gate.yaml}
out=${DIPO_GATE_OUT:-gate}
dipo=${DIPO:-$here/../.venv/bin/dipo}
[ -n "${DIPO:-}" ] || [ -x "$dipo" ] || dipo=dipo
read -r -a eval_args <<<"${DIPO_EVAL_ARGS:---limit 500 --max-new-tokens 56}"

checkpoint=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit 0 ;;
    --) shift; eval_args=("$@"); break ;;
    --suites | --baseline | --baseline-results | --config | --out | --dipo)
        [ $# -ge 2 ] || fail "$1 needs a value; ci/gate.sh --help lists the options"
        name=${1#--}
        printf -v "${name//-/_}" '%s' "$2"
        shift 2
        ;;
    -*) fail "$1: no such option; ci/gate.sh --help lists them, those of dipo eval come after --" ;;
    *)
        [ -z "$checkpoint" ] || fail "two checkpoints, $checkpoint and $1: name one"
        checkpoint=$1
        shift
        ;;
    esac
done
[ -n "$checkpoint" ] || fail "no checkpoint named; see ci/gate.sh --help"
command -v "$dipo" >/dev/null || fail "$dipo: no such command; run make setup, or name it with --dipo"
[[ $baseline == ?*/?* && $baseline != candidate/* ]] || fail "--baseline $baseline: name it RUN/CHECKPOINT, RUN not candidate"
[ -d "$baseline_results" ] || fail "$baseline_results: no such folder; --baseline-results names the baseline's"

mkdir -p "$out" || fail "$out: cannot be created"
results=$out/results
rm -f "$out"/gate.xml "$out"/gate.md "$out"/gate.json
"$dipo" eval "$checkpoint" --suites "$suites" --results "$results" --run candidate "${eval_args[@]}" || exit 2
# dipo eval names a result after its folder (global_step20_hf: global_step20), or after the model on the hub.
candidate=${checkpoint//\//-}
if [ -d "$checkpoint" ]; then
    candidate=$(basename "$(cd "$checkpoint" && pwd -P)")
    candidate=${candidate%_hf}
fi
[ -n "$candidate" ] && [ -d "$results/candidate/$candidate" ] ||
    fail "$checkpoint: no result called $candidate in $results/candidate: name one model, not a training run's folder"
# A copy beside the candidate, for the board, whose responses the current grader can grade again.
[ -d "$baseline_results/$baseline" ] || fail "$baseline_results/$baseline: no such folder; --baseline names it as RUN/CHECKPOINT"
rm -rf "${results:?}/$baseline" && mkdir -p "$results/${baseline%/*}" &&
    cp -R "$baseline_results/$baseline" "$results/${baseline%/*}/" || fail "$results: the baseline could not be copied"
python=$(dirname "$(command -v "$dipo")")/python
[ ! -x "$python" ] || "$python" "$here/regrade_baseline.py" "$results/$baseline" || true
"$dipo" gate --results "$results" --candidate "candidate/$candidate" --baseline "$baseline" \
    --config "$config" --junit "$out/gate.xml" --markdown "$out/gate.md" --json "$out/gate.json"
status=$?
# 1 and 3 are verdicts only where the report has them too: a killed or broken command has judged nothing.
case $status in
0 | 2) ;;
1 | 3) grep -q "\"exit_code\": $status\\b" "$out/gate.json" 2>/dev/null || status=2 ;;
*) status=2 ;;
esac
# The board never changes the verdict.
"$dipo" board --results "$results" --baseline "$baseline" --out "$out/board.html" ||
    echo "the board could not be written" >&2
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$out/gate.md" >>"$GITHUB_STEP_SUMMARY" 2>/dev/null || true
exit $status
