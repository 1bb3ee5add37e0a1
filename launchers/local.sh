#!/usr/bin/env bash
# recipe on this machine. Made by `dipo submit --to local`; started again, it goes on where it stopped.
set -euo pipefail
cd /shared/project
exec /shared/project/.venv-gpu/bin/python -P -m dipo_openrlhf.launchers.run_or_resume recipe.yaml --run.dir runs/example
