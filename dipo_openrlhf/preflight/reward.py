"""A reward or agent file tried on real rows before anything starts, in a process of its own.

In a run OpenRLHF loads it once the engines are up, turns what it raises into a missing reward at level INFO, and ends
with `AttributeError: 'NoneType' object has no attribute 'size'` in the trainer.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError
from dipo_eval.secrets.masking import mask_text
from dipo_openrlhf.algorithm.config import CorrectFrom
from dipo_openrlhf.recipe.defaults import REWARDS
from dipo_openrlhf.rewards.returned import key_problem, no_dict, problem_of, scale_problem

SAMPLES = 8
SECONDS = 120
_SCRIPT = Path(__file__).with_name("try_reward.py")
_KEY, _AGENT = "reward.remote_url", "train.agent_func_path"


def is_built_in(name: str) -> bool:
    """Whether a reward's name is one of this project's."""
    return (REWARDS / f"{name}.py").is_file()


def is_own_file(url: str | None) -> bool:
    """Whether a reward is a file of the user's own, and neither an address nor one of this project."""
    return bool(url) and str(url).endswith(".py") and Path(str(url)).parent != REWARDS


def check_reward_url(url: str | None, agent: str | None) -> None:
    """Raise UserError for a reward or agent that is no file here and no address."""
    if agent:
        _check_agent(agent)
        return
    given = (url or "").split(",")
    if len(given) > 1 and any(one.strip().endswith(".py") for one in given):
        raise UserError(f"{_KEY}: {url!r}: OpenRLHF takes one file; call the others in its reward_func")
    for one in given:
        name, place = one.strip(), f"{_KEY}: {one!r}"
        if name.endswith(".py"):
            if not Path(name).is_file():
                raise UserError(f"{place}: no such file")
        elif urlsplit(name).scheme not in ("http", "https"):
            known = sorted(
                path.stem for path in REWARDS.glob("*.py") if "def reward_func" in path.read_text("utf-8")
            )
            near = nearest(name, known)
            hint = f"did you mean {near}? " if near else ""
            raise UserError(
                f"{place}: {hint}give {', '.join(known)}, a Python file (.py), or an address (http://...)"
            )


def _check_agent(name: str) -> None:
    place = f"{_AGENT}: {name!r}"
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"{place}: no such file")
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{place}: is no Python file: {error}".splitlines()[0]) from None
    if "AgentExecutor" not in _defined(tree):
        raise UserError(
            f"{place}: defines no AgentExecutor, which OpenRLHF takes from it: end it with "
            "AgentExecutor = agent_for(YourEnvironment)"
        )


def has_environment(agent: str) -> bool:
    """Whether an agent's file has its AgentExecutor from agent_for(...), with an environment that can be tried."""
    calls = [
        node.value.func
        for node in ast.parse(Path(agent).expanduser().read_bytes()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if any(isinstance(target, ast.Name) and target.id == "AgentExecutor" for target in node.targets)
    ]
    return any(getattr(call, "id", getattr(call, "attr", "")) == "agent_for" for call in calls)


def _defined(tree: ast.Module) -> set[str]:
    """Names that the top level of a module defines, assigns or imports."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def check_reward(
    url: str | None, samples: list[tuple[str, str, str, Any]], correct_from: CorrectFrom = "score"
) -> None:
    """Raise UserError unless the reward file can be imported and returns what training needs for every sample.

    samples: (place, query, prompt, label), a row each. correct_from: dipo.correct_from, on whose scale scores are.
    Nothing is called for an address, or for a reward of this project.
    """
    if not url or not is_own_file(url):
        return
    samples = samples[:SAMPLES]
    found = _tried(url, samples)
    place = f"{_KEY}: {url!r}"
    if "error" in found:
        row = samples[found["sample"]][0] if "sample" in found and samples else ""
        raise UserError(f"{place}: {found['error']}{f', for {row}' if row else ''}{_hint(found, url)}")
    first: tuple[str, dict[str, Any]] | None = None
    for (row, *_), value in zip(samples, found["returned"], strict=True):
        kind = value.get("not a dict")  # try_reward.py
        if problem := no_dict(kind) if kind else problem_of(value) or scale_problem(value, correct_from):
            raise UserError(f"{place}: for {row} reward_func returned {problem}")
        first = first or (row, value)
        if problem := key_problem(first[1], first[0], value):
            raise UserError(f"{place}: for {row} reward_func returned {problem}")


def _tried(url: str, samples: list[tuple[str, str, str, Any]]) -> dict[str, Any]:
    path = str(Path(url).resolve())
    given = json.dumps([[query, prompt, label] for _, query, prompt, label in samples], default=str)
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_SCRIPT), path],
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{_KEY}: {url!r}: has not scored {len(samples)} answers in {SECONDS} s; a run calls it for each"
        ) from None
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        return found if isinstance(found, dict) else {}
    except (ValueError, IndexError):
        last = mask_text((done.stderr.strip().splitlines() or ["no message"])[-1])[:300]
        return {"error": f"ended its process with status {done.returncode}: {last}"}


def _hint(found: dict[str, Any], url: str) -> str:
    """OpenRLHF loads the file alone: it is in no package, and its folder is no place for imports."""
    if found.get("kind") == "ModuleNotFoundError":
        folder = Path(url).resolve().parent
        return f"; a module beside it is found with PYTHONPATH={folder}, or where it is put into the file"
    if "'NoneType' object has no attribute '__dict__'" in str(found["error"]):
        return "; a dataclass does not go with `from __future__ import annotations` there: take that line out"
    return ""
