#!/usr/bin/env bash
# Make or complete a virtual environment from the locked requirements.
#   requirements/install.sh VENV cpu|gpu|test|evalplus...        evalplus: an environment of its own, without this project
# PYTHON: the interpreter, 3.11. TORCH_INDEX_URL: where to find torch's CPU build if the default index lacks it.
set -euo pipefail
venv=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
uv_version=0.13.9

fail() {
    echo "error: $*" >&2
    exit 2
}

[ -n "$python" ] || fail "no Python found: install Python 3.11 or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$python is $("$python" -V 2>&1), the locked requirements are for Python 3.11: set PYTHON"
command -v cc >/dev/null || command -v gcc >/dev/null || fail "no C compiler found: install gcc"

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version" ||
    fail "the installer uv could not be installed: is a package index reachable?"

# uv does not read pip's configuration: hand over what points at other places.
find_links=${PIP_FIND_LINKS:-$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)}
[ -z "$find_links" ] || export UV_FIND_LINKS=${UV_FIND_LINKS:-${find_links// /,}}
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
[ -z "${TORCH_INDEX_URL:-}" ] || export UV_INDEX=${UV_INDEX:-$TORCH_INDEX_URL} UV_INDEX_STRATEGY=unsafe-best-match
export VIRTUAL_ENV=$venv UV_HTTP_TIMEOUT=180 DS_BUILD_OPS=0

install() { "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "$@"; }

for set in "$@"; do
    echo "installing requirements/$set.txt"
    case $set in
    gpu)
        install torch
        install --no-build-isolation -r "$here/gpu.txt"
        install --no-deps "$(grep '^bfcl-eval==' "$here/cpu.txt")"
        ;;
    *)
        install --no-deps -r "$here/$set.txt" ||
            fail "installing requirements/$set.txt failed; if torch==2.13.0+cpu was not found, set TORCH_INDEX_URL to PyTorch's CPU wheel index"
        ;;
    esac
done
[ "$*" = evalplus ] || install --no-deps --no-build-isolation -e "$root"
