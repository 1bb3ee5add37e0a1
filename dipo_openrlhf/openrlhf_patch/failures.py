"""What a user reads of an exception that came through Ray, and whether the run may be restarted."""

from __future__ import annotations

import re

from dipo_eval.errors import UserError
from dipo_eval.secrets.masking import mask_text

# Messages of torch, safetensors, Ray and the system on a full disk.
_DISK_FULL = re.compile(
    r"No space left on device|ENOSPC|PytorchStreamWriter failed|inline_container.*unexpected pos|File too large"
    r"|Disk quota exceeded|file write failed",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|Cannot allocate memory", re.IGNORECASE)

_DEAD_ACTOR = re.compile(
    r"class_name: (?P<name>\S+).*?\bpid: (?P<pid>\d+).*?\bip: (?P<ip>\S+)\s+The actor is dead because its worker "
    r"process has died",
    re.DOTALL,
)


def root_cause(error: BaseException) -> BaseException:
    """The innermost exception: Ray wraps the worker's in RayTaskError.cause. A UserError is its own cause."""
    seen: set[int] = set()
    while id(error) not in seen and type(error).__name__ != UserError.__name__:
        seen.add(id(error))
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def may_restart(error: BaseException) -> bool:
    """Whether the same run could succeed the next time: no user error, no full disk or memory."""
    text = str(error)
    user = isinstance(error, SystemExit) or type(root_cause(error)).__name__ == UserError.__name__
    return not (user or _DISK_FULL.search(text) or _OUT_OF_MEMORY.search(text))


def explain(error: BaseException) -> str:
    """The cause in one line and, where known, what to do; the traceback is in the run's train.log."""
    text = str(error)
    if _DISK_FULL.search(text):
        return "the disk is full: a checkpoint could not be written; free space (ckpt.path, ckpt.max_num), then resume"
    if _OUT_OF_MEMORY.search(text):
        return "out of memory: lower train.micro_batch_size, rollout.micro_batch_size or data.max_len"
    if dead := _DEAD_ACTOR.search(text):
        return f"{dead['name']} (pid {dead['pid']} on {dead['ip']}) died: killed, out of memory or crashed"
    cause = root_cause(error)
    message = next((line.strip() for line in reversed(str(cause).splitlines()) if line.strip()), "")
    name = type(cause).__name__
    if name == UserError.__name__:  # by name: Ray derives a class from it
        return mask_text(message)[:500]
    return mask_text(f"{name}: {message}")[:500] if message else name
