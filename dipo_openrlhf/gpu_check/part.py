"""One part of a check as a process of its own, so that it can be given a deadline and ended.

python -m dipo_openrlhf.gpu_check.part NAME FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dipo_eval.engines.device import set_process_env
from dipo_eval.errors import UserError
from dipo_eval.files.processes import end_with_parent
from dipo_eval.secrets.masking import mask_text
from dipo_openrlhf.gpu_check.settings import CheckSettings

OBSERVED = "dipo_openrlhf.gpu_check.driver"
UNSENT = "dipo_openrlhf.gpu_check.driver_unsent"


def _prepare(settings: CheckSettings) -> None:
    from dipo_openrlhf.gpu_check.prepare import prepare

    prepare(settings)


def _train(settings: CheckSettings, *, resume: bool = False) -> None:
    from dipo_openrlhf.gpu_check.prepare import main_recipe
    from dipo_openrlhf.run.supervisor import train

    train(main_recipe(settings), resume=resume, driver=OBSERVED)


def _resume(settings: CheckSettings) -> None:
    _train(settings, resume=True)


def _control(settings: CheckSettings) -> None:
    from dipo_openrlhf.gpu_check.prepare import control_recipe
    from dipo_openrlhf.run.supervisor import train

    train(control_recipe(settings), driver=UNSENT)


def _device(settings: CheckSettings) -> None:
    from dipo_openrlhf.gpu_check.device import write_device

    write_device(settings)


def _export(settings: CheckSettings) -> None:
    from dipo_openrlhf.gpu_check.greedy import write_greedy

    write_greedy(settings)


def _compare(settings: CheckSettings) -> None:
    from dipo_openrlhf.gpu_check.compare import compare

    compare(settings)


PARTS: dict[str, Callable[[CheckSettings], None]] = {
    "prepare": _prepare,
    "train": _train,
    "resume": _resume,
    "control": _control,
    "device": _device,
    "export": _export,
    "compare": _compare,
}


def main(name: str, folder: str) -> int:
    """Exit status; the last line of standard output says why a part failed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    end_with_parent()
    set_process_env()
    try:
        PARTS[name](CheckSettings.read(Path(folder)))
    except UserError as error:
        print(f"error: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(mask_text(traceback.format_exc()), file=sys.stderr, flush=True)
        print(mask_text(f"error: {type(error).__name__}: {error}"), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    status = main(*sys.argv[1:3])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread waits on standard input, and vLLM's threads may not end
