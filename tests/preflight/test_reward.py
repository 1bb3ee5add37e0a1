"""A reward file is imported and called as OpenRLHF does it, and its mistake is one line with its own place."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.reward import check_reward, check_reward_url

SAMPLES = [(f"d.jsonl:{n}", f"What is {n}? {n}", f"What is {n}? ", str(n)) for n in range(1, 5)]
GOOD = 'return {"rewards": 1.0, "scores": 1.0, "extra_logs": {"a": 0.5}}'
FORM = 'give {"rewards": number'


def reward(folder: Path, body: str, before: str = "", name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(f"{before}\ndef reward_func(queries, prompts, labels):\n    {body}\n")
    return str(path)


def test_scores_on_another_scale(tmp_path):
    body = 'return {"rewards": 7.0, "extra_logs": {"reward_max": 10.0}}'
    check_reward(reward(tmp_path, body), SAMPLES, "reward_max")
    check_reward(reward(tmp_path, 'return {"rewards": -3.0, "scores": 1}'), SAMPLES)
    with pytest.raises(UserError, match=r"no 'reward_max' in extra_logs, which dipo\.correct_from names"):
        check_reward(reward(tmp_path, GOOD), SAMPLES, "reward_max")


def test_a_good_one_passes_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    check_reward(reward(tmp_path, GOOD), SAMPLES)
    assert [path.suffix for path in tmp_path.iterdir()] == [".py"]
    tensor = 'return {"rewards": torch.tensor([1.0]), "scores": [0], "extra_logs": {"a": torch.tensor(2)}}'
    check_reward(reward(tmp_path, tensor, "import torch"), SAMPLES[:1])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise ValueError("boom")', "reward_func raises ValueError: boom (line 3), for d.jsonl:1"),
        ('return 1 / (labels != ["2"])', "reward_func raises ZeroDivisionError: division by zero (line 3), for d.j"),
        ("return 1.0", f"for d.jsonl:1 reward_func returned a float: {FORM}"),
        ("return None", "returned a NoneType"),
        ("return [1.0]", "returned a list"),
        ('return {"score": 1.0}', f"returned no 'rewards', but 'score': {FORM}"),
        ('return {"rewards": None}', f"returned None as 'rewards': {FORM}"),
        ('return {"rewards": "1"}', "returned '1' as 'rewards'"),
        ('return {"rewards": [1.0, 2.0]}', "returned [1.0, 2.0] as 'rewards'"),
        ('return {"rewards": float("nan")}', "returned nan as 'rewards'"),
        ('return {"rewards": 1.0, "scores": "yes"}', "returned 'yes' as 'scores'"),
        ('return {"rewards": 1.0, "extra_logs": {"a": "b"}}', "'b' as extra_logs['a'], which must be a number"),
        ('return {"rewards": 1.0, "extra_logs": {"a": 1} if labels == ["3"] else {}}',
         "for d.jsonl:3 reward_func returned extra_logs whose keys differ from those for d.jsonl:1 (a)"),
        ('return {"rewards": 1.0, **({"reward_max": 2.0} if labels == ["1"] else {})}',
         "for d.jsonl:2 reward_func returned a result whose keys differ from those for d.jsonl:1 (reward_max)"),
        ('return {"rewards": 7.0}', "returned 7 as 'rewards', and from 0.5 to 1 is correct: give 'scores' 0 or 1"),
        ('return {"rewards": 1.0, "scores": -1}', "returned -1 as 'scores', and from 0.5 to 1 is correct"),
        ("import os; os._exit(3)", "ended its process with status 3"),
        ("import sys; sys.exit(1)", "reward_func raises SystemExit: 1"),
    ],
)  # fmt: skip
def test_what_it_returns_or_raises_is_told(tmp_path, body, words):
    with pytest.raises(UserError) as caught:
        check_reward(reward(tmp_path, body), SAMPLES)
    message = str(caught.value)
    assert message.startswith(f"reward.remote_url: '{tmp_path}/mine.py': ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("import no_such_module", "cannot be imported: ModuleNotFoundError: .* (line 1); a module beside it is found"),
        ("import helper_beside", "PYTHONPATH="),
        ("def broken(:", "cannot be imported: SyntaxError: .* (line 1)"),
        ("from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 0",
         "a dataclass does not go with"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("input()", "cannot be imported: EOFError: .* (line 1)"),
    ],
)  # fmt: skip
def test_a_file_that_openrlhf_cannot_import(tmp_path, before, words):
    (tmp_path / "helper_beside.py").touch()
    with pytest.raises(UserError, match=words.replace("(", r"\(").replace(")", r"\)")):
        check_reward(reward(tmp_path, GOOD, before), SAMPLES)


def test_a_file_without_the_function(tmp_path):
    (tmp_path / "mine.py").write_text("def rewards(): pass\n")
    with pytest.raises(UserError, match=r"defines no reward_func\(queries, prompts, labels\), but rewards$"):
        check_reward(str(tmp_path / "mine.py"), SAMPLES)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("async def reward_func(queries, prompts, labels): return {}", "write def, without async"),
        ("def reward_func(completions, **kwargs): return [1.0]",
         "it is called as reward_func(queries, prompts, labels), for d.jsonl:1"),
    ],
)  # fmt: skip
def test_a_function_of_another_form(tmp_path, code, words):
    (tmp_path / "mine.py").write_text(code + "\n")
    with pytest.raises(UserError) as caught:
        check_reward(str(tmp_path / "mine.py"), SAMPLES)
    assert words in str(caught.value)


def test_files_of_the_current_folder_hide_no_module(tmp_path, monkeypatch):
    """A reward named as a module of Python, or one beside it, in the folder from which `dipo train` is started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("raise RuntimeError('not the standard library')\n")
    check_reward(
        reward(tmp_path, GOOD, "import random, math; math.sqrt(random.random())", "math.py"), SAMPLES
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("maths", "did you mean math? give function_call, math, a Python file"),
        ("mine.py", "'mine.py': no such file"),
        ("", "give function_call, math"),
        ("localhost:5000", "or an address"),
        ("a.py,b.py", "OpenRLHF takes one file; call the others in its reward_func"),
    ],
)
def test_a_reward_that_is_nowhere(url, words):
    with pytest.raises(UserError) as caught:
        check_reward_url(url, None)
    assert words in str(caught.value)


def test_an_address_and_an_agent(tmp_path):
    check_reward_url("http://localhost:5000/score, https://a/b", None)
    agent = tmp_path / "agent.py"
    agent.write_text("class Other: pass\n")
    with pytest.raises(UserError, match=r"train\.agent_func_path: .*: defines no AgentExecutor"):
        check_reward_url(None, str(agent))
    agent.write_text("class AgentExecutor: pass\n")
    check_reward_url(None, str(agent))
    agent.write_text("class (")
    with pytest.raises(UserError, match="is no Python file"):
        check_reward_url(None, str(agent))
    with pytest.raises(UserError, match="no such file"):
        check_reward_url(None, str(tmp_path / "none.py"))


def test_the_documents_reward_is_one(tmp_path):
    """The file of docs/first_run.md, as it stands there."""
    page = Path(__file__).parents[2] / "docs" / "first_run.md"
    (code,) = re.findall(r"```python\n(# my_reward.py.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "my_reward.py"
    file.write_text(code)
    check_reward(str(file), SAMPLES)
    spec = importlib.util.spec_from_file_location("my_reward", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    right = module.reward_func(["1 + 1? It is 2"], ["1 + 1? "], ["2"])
    wrong = module.reward_func(["1 + 1? It is 3"], ["1 + 1? "], ["2"])
    assert (right["scores"], wrong["scores"], wrong["rewards"]) == (1.0, 0.0, 0.0)
