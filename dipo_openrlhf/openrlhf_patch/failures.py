"""What a user reads of an exception that came through Ray, and whether the run may be restarted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dipo_eval.errors import UserError
from dipo_eval.printable import visible
from dipo_eval.secrets.masking import mask_text

# Messages of torch, safetensors, Ray and the system on a full disk.
_DISK_FULL = re.compile(
    r"No space left on device|ENOSPC|PytorchStreamWriter failed|inline_container.*unexpected pos|File too large"
    r"|Disk quota exceeded|file write failed",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|Cannot allocate memory|node running low on memory", re.IGNORECASE
)

_FURTHER = "For further information visit"
_HOST_MEMORY = re.compile(r"Cannot allocate memory|node running low on memory", re.IGNORECASE)
# Ray's name of a remote call, a line of the traceback for each that it went through (ray/exceptions.py, RayTaskError).
_REMOTE_CALL = re.compile(r"ray::(\w{1,100})\.(\w{1,100})\(")

_DEAD_ACTOR = re.compile(
    r"class_name: (?P<name>\S+).*?\bpid: (?P<pid>\d+).*?\bip: (?P<ip>\S+)\s+The actor is dead because its worker "
    r"process has died",
    re.DOTALL,
)


# Of what repeats itself with the same data and code. No AttributeError: the answer of a dead engine is None.
_REPEATS = {
    "TypeError", "KeyError", "IndexError", "NameError", "UnicodeError", "ZeroDivisionError", "ModuleNotFoundError",
    "SyntaxError", "TemplateError", "UndefinedError", "ValidationError",
}  # fmt: skip
_TRANSIENT = {"OSError", "RayError", "ClientError"}  # a service or a process that may answer the next time
_FRAME = re.compile(r'File "([^"]+)", line')


class StoppedError(Exception):
    """The run was asked to stop, and has saved its step; raised in the trainer, seen by the driver."""


def was_stopped(error: BaseException) -> bool:
    """Whether `error`, which may have come through Ray, is a StoppedError."""
    return type(root_cause(error)).__name__ == StoppedError.__name__


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


def may_restart(error: BaseException, own_files: Iterable[str] = ()) -> bool:
    """Whether the same run could succeed the next time: no user error, no full disk or memory, no mistake of the code.

    own_files: Python files of the user's, such as an agent's; what is raised in one, and not by a service that it asks,
    is raised again.
    """
    text = str(error)
    if isinstance(error, SystemExit) or _DISK_FULL.search(text) or _OUT_OF_MEMORY.search(text):
        return False
    kinds = {kind.__name__ for kind in type(root_cause(error)).__mro__}
    if kinds & {UserError.__name__, *_REPEATS}:
        return False
    frames = _FRAME.findall(text)
    return not (frames and frames[-1] in set(own_files) and not kinds & _TRANSIENT)


def _memory_hint(text: str, argv: Sequence[str]) -> str:
    """Where it happened, and settings that have an effect there: a dynamic batch has no micro-batch size."""
    if _HOST_MEMORY.search(text):
        return (
            "out of memory on a host, not on a GPU: give the node or pod more (`dipo doctor RECIPE` shows what is on the "
            "host), or use more nodes"
        )
    size = "max_tokens_per_gpu" if "--train.dynamic_batch_enable" in argv else "micro_batch_size"
    update, experience, engine = f"train.{size}", f"rollout.{size}", "vllm.gpu_memory_utilization"
    calls = _REMOTE_CALL.findall(text)
    name, method = calls[-1] if calls else ("", "")  # the innermost
    if "Engine" in name:
        place, settings = " in a rollout engine", engine
    elif method == "fit" and name.endswith("Actor"):
        place, settings = " in the update", f"{update}, or {engine} where engines share the GPU"
    elif method in ("execute_batch", "forward"):
        place, settings = " while log-probabilities were computed", experience
    elif method == "broadcast_to_vllm":
        place, settings = " while the weights were sent to the engines", engine
    else:
        place, settings = "", f"{update}, {experience} or {engine}"
    return (
        f"out of memory{place}: lower {settings}, which may change on a --resume (data.max_len may not); `dipo doctor "
        "RECIPE` shows what takes how much"
    )


def explain(error: BaseException, argv: Sequence[str] = ()) -> str:
    """The cause in one line and, where known, what to do; the traceback is in the run's train.log.

    The message may hold what a model has written: nothing in the line acts on a terminal.

    argv: OpenRLHF's arguments of the run, on which it depends what helps.
    """
    text = str(error)
    if _DISK_FULL.search(text):
        return "the disk is full: a checkpoint could not be written; free space (ckpt.path, ckpt.max_num), then resume"
    if _OUT_OF_MEMORY.search(text):
        return _memory_hint(text, argv)
    if dead := _DEAD_ACTOR.search(text):
        return f"{dead['name']} (pid {dead['pid']} on {dead['ip']}) died: killed, out of memory or crashed"
    cause = root_cause(error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # pydantic ends with where its errors are documented.
    message = next((line for line in reversed(lines) if not line.startswith(_FURTHER)), "")
    name = type(cause).__name__
    if name == UserError.__name__:  # by name: Ray derives a class from it
        return visible(mask_text(message)[:500], 500)
    return visible(mask_text(f"{name}: {message}")[:500], 500) if message else name
