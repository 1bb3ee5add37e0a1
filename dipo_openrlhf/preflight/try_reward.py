"""Load a reward file as OpenRLHF does, call it on a few samples, and say what it returned; run as a script of its own.

python -P try_reward.py FILE < samples.json, a list of [query, prompt, label]

The last line of standard output is JSON: {"error": ...}, or {"returned": [...]} with one entry a sample, in which numbers
of tensors are plain. Imports nothing of this project: the file is to meet what it meets in an engine.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable


def _place(error: BaseException, path: str) -> str:
    """`line N` of the file, the innermost of its own lines in the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines = [error.lineno]
    return f" (line {lines[-1]})" if lines else ""


def _said(error: BaseException, path: str) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:300] + _place(error, path)


def _plain(value: object) -> object:
    """Numbers as JSON has them: of a tensor, an array or a list the first and only one."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return {"type": type(value).__name__}


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _shape(one) if isinstance(one, dict) else _plain(one) for key, one in value.items()}
    return {"not a dict": type(value).__name__}


def _takes_three(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind([], [], [])
    except (TypeError, ValueError):
        return False
    return True


def main(path: str) -> dict[str, object]:
    """See the module."""
    samples = json.load(sys.stdin)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # an engine has no other
    sys.dont_write_bytecode = True  # a check leaves nothing beside the user's file
    try:
        # openrlhf/utils/agent.py, SingleTurnAgentExecutor: not entered into sys.modules, its folder not on sys.path.
        spec = importlib.util.spec_from_file_location("reward_func", path)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except BaseException as error:
        return {"error": f"cannot be imported: {_said(error, path)}", "kind": type(error).__name__}
    function = getattr(module, "reward_func", None)
    if not callable(function):
        own = [name for name, one in vars(module).items() if getattr(one, "__module__", "") == "reward_func"]
        instead = f", but {', '.join(own[:3])}" if own else ""
        return {"error": f"defines no reward_func(queries, prompts, labels){instead}"}
    if inspect.iscoroutinefunction(function):
        return {"error": "reward_func is an async function, which nothing awaits: write def, without async"}
    returned = []
    for query, prompt, label in samples:
        try:
            returned.append(_shape(function([query], [prompt], [label])))
        except BaseException as error:
            asked = (
                "" if _takes_three(function) else "; it is called as reward_func(queries, prompts, labels)"
            )
            return {"error": f"reward_func raises {_said(error, path)}{asked}", "sample": len(returned)}
    return {"returned": returned}


if __name__ == "__main__":
    found = json.dumps(main(sys.argv[1]))
    sys.stdout.flush()
    print(f"\n{found}", flush=True)
