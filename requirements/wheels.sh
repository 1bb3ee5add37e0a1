#!/usr/bin/env bash
# Fill a folder with all wheels of one environment, for machines without a package index (docs/gpu.md).
#   requirements/wheels.sh FOLDER gpu|cpu|test|evalplus...
# Run it where an index is reachable, on the same kind of machine (Linux, the same processor, Python 3.11), after `make setup`.
# What an index has as source alone is built here; flash-attn, which needs nvcc and torch, stays source and is compiled by
# `make gpu` on the node. PYTHON: .venv/bin/python by default.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
folder=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$(dirname "$here")/.venv/bin/python}
[ -x "$python" ] || { echo "error: $python: not found: run make setup first, or set PYTHON" >&2; exit 2; }
for set in "$@"; do
    [ -f "$here/$set.txt" ] || { echo "error: $set: no such environment: gpu, cpu, test or evalplus" >&2; exit 2; }
done
export DS_BUILD_OPS=0
mkdir -p "$folder"
names=$(mktemp)
trap 'rm -f "$names"' EXIT
sed -n 's/^uv_version=/uv==/p' "$here/install.sh" >"$names"
for set in "$@"; do grep -hvE '^(#|flash-attn==)' "$here/$set.txt" >>"$names"; done
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder" --requirement "$names"
for set in "$@"; do
    flash_attn=$(grep -h '^flash-attn==' "$here/$set.txt" || true)
    # Its metadata are made by its setup.py, which imports torch, but compiles nothing so.
    [ -z "$flash_attn" ] || FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE "$python" -m pip download --quiet --no-deps \
        --disable-pip-version-check --no-build-isolation --no-binary flash-attn --dest "$folder" "$flash_attn"
done
files=$(find "$folder" -type f -printf '%f\n')
lacks=()
for set in "$@"; do
    while IFS= read -r name; do
        # A file has the package's name with - _ . as one letter, and then the version.
        grep -qiE "^${name//[-_.]/[-_.]}-[0-9].*\.(whl|tar\.gz|zip)$" <<<"$files" || lacks+=("$name")
    done < <(sed -nE 's/^([A-Za-z0-9._-]+)==.*/\1/p' "$here/$set.txt")
done
[ ${#lacks[@]} -eq 0 ] || { echo "error: $folder lacks ${#lacks[@]} packages, such as ${lacks[0]}: pip has not put them there" >&2; exit 1; }
echo "$folder: $(find "$folder" -type f | wc -l) files; on the node: DIPO_WHEELS=FOLDER make gpu (or setup, test, evalplus)"
