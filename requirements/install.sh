#!/usr/bin/env bash
# Make or complete a virtual environment from the locked requirements.
#   requirements/install.sh VENV cpu|gpu|test|evalplus|trl...    evalplus, trl: environments of their own, without this project
# PYTHON: the interpreter, 3.11. TORCH_INDEX_URL: where to find torch's CPU build if the default index lacks it.
# DIPO_WHEELS: a folder filled by requirements/wheels.sh, for a machine without a package index.
# For gpu (docs/gpu.md): DIPO_FLASH_ATTN=no leaves flash-attn out, =FILE.whl takes a built one; DIPO_CHECKS=no builds an image
# on a machine without a GPU.
set -euo pipefail
venv=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
uv_version=0.13.9
flash_attn=${DIPO_FLASH_ATTN:-build}

fail() {
    echo "error: $*" >&2
    exit 2
}
gpu_checks() { PYTHONPATH=$root "$python" -m dipo_openrlhf.estimate.gpu_checks "$@"; }

[ -n "$python" ] || fail "no Python found: install Python 3.11 or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$python is $("$python" -V 2>&1), the locked requirements are for Python 3.11: set PYTHON"
[ -z "${DIPO_WHEELS:-}" ] || [ -d "$DIPO_WHEELS" ] || fail "DIPO_WHEELS=$DIPO_WHEELS: no such folder; requirements/wheels.sh fills one"
other=cpu
case " $* " in
*" gpu "*)
    case $flash_attn in
    build | no) ;;
    *.whl) [ -f "$flash_attn" ] || fail "DIPO_FLASH_ATTN=$flash_attn: no such file" ;;
    *) fail "DIPO_FLASH_ATTN=$flash_attn: build, no, or a wheel's file" ;;
    esac
    if [ "${DIPO_CHECKS:-}" != no ]; then
        without=()
        [ "$flash_attn" = build ] || without=(--no-flash-attn)
        gpu_checks "$venv" ${without[@]+"${without[@]}"} || fail "nothing was installed: see the lines above"
    fi
    ;;
*)
    other=gpu
    command -v cc >/dev/null || command -v gcc >/dev/null || fail "no C compiler found: install gcc"
    ;;
esac
[ ! -e "$venv/.installed-$other" ] || fail "$venv holds the $other environment: name another folder (make VENV=... or GPU_VENV=...)"

index=()
[ -z "${DIPO_WHEELS:-}" ] || index=(--no-index --find-links "$DIPO_WHEELS")
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
[ -x "$venv/bin/uv" ] ||
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check ${index[@]+"${index[@]}"} "uv==$uv_version" ||
    fail "the installer uv could not be installed: is a package index reachable? Without one: DIPO_WHEELS (docs/gpu.md)"

# uv does not read pip's configuration: hand over what points at other places.
if [ -z "${DIPO_WHEELS:-}" ]; then
    find_links=${PIP_FIND_LINKS:-$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)}
    [ -z "$find_links" ] || export UV_FIND_LINKS=${UV_FIND_LINKS:-${find_links// /,}}
    [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
    [ -z "${TORCH_INDEX_URL:-}" ] || export UV_INDEX=${UV_INDEX:-$TORCH_INDEX_URL} UV_INDEX_STRATEGY=unsafe-best-match
fi
export VIRTUAL_ENV=$venv UV_HTTP_TIMEOUT=180 UV_COMPILE_BYTECODE_TIMEOUT=600 DS_BUILD_OPS=0

install() { "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps ${index[@]+"${index[@]}"} "$@"; }

# All but flash-attn first: its build imports torch, psutil, ninja, packaging, wheel and setuptools, and is compiled against
# the very torch that it will run with.
install_gpu() {
    local rest
    rest=$(mktemp)
    grep -v '^flash-attn==' "$here/gpu.txt" >"$rest"
    install --compile-bytecode -r "$rest" || { rm -f "$rest"; fail "installing requirements/gpu.txt failed"; }
    rm -f "$rest"
    case $flash_attn in
    no) echo "without flash-attn: train with RECIPE+no_flash_attn (docs/gpu.md)" ;;
    *.whl) install "$flash_attn" || fail "$flash_attn: could not be installed" ;;
    *)
        export MAX_JOBS=${MAX_JOBS:-$(gpu_checks --jobs)} FLASH_ATTENTION_FORCE_BUILD=TRUE
        echo "compiling flash-attn with $MAX_JOBS compilers at once; this takes from minutes to hours"
        PATH=$venv/bin:$PATH install --no-build-isolation "$(grep '^flash-attn==' "$here/gpu.txt")" ||
            fail "flash-attn was not compiled (above). All else is installed: DIPO_FLASH_ATTN=no make gpu goes on without it," \
                "DIPO_FLASH_ATTN=FILE.whl takes a built wheel (docs/gpu.md)"
        ;;
    esac
}

# Python compiles a module at its first import and keeps that, but not where PYTHONDONTWRITEBYTECODE is set, as in many images:
# there every process of a run would compile all that it imports, at every start. So that is done here, for what they import;
# on GPU nodes, which have the cores for it, and may have the environment on a read-only share, for all.
compile_imports() {
    local imports pids=()
    for imports in "openrlhf.trainer.ray.ppo_actor, openrlhf.trainer.ppo_trainer, openrlhf.cli.train_ppo_ray" \
        "vllm.entrypoints.llm, vllm.v1.engine.core, vllm.v1.worker.cpu_worker, openrlhf.trainer.ray.vllm_engine"; do
        PYTHONDONTWRITEBYTECODE='' "$venv/bin/python" -P -c \
            "from dipo_openrlhf.openrlhf_patch.cpu import changes; changes.install(); import $imports" >/dev/null 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || echo "note: not all modules are compiled yet; the first start takes longer" >&2
    done
}

for set in "$@"; do
    echo "installing requirements/$set.txt"
    if [ "$set" = gpu ]; then
        install_gpu
    else
        install -r "$here/$set.txt" ||
            fail "installing requirements/$set.txt failed; if torch==2.13.0+cpu was not found, set TORCH_INDEX_URL to PyTorch's CPU wheel index"
    fi
done
[ "$*" = evalplus ] || [ "$*" = trl ] || install --no-build-isolation -e "$root"
[ "$*" != cpu ] || compile_imports
