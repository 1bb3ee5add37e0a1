"""Code grading without evalplus: finding the program, carrying results, data files, the environment, the jail."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.code import environment as code_env
from dipo_eval.grading.code.extract import extract_code
from dipo_eval.grading.code.fences import fenced_blocks
from dipo_eval.grading.code.program import defines

PROMPT = "from typing import List\n\n\ndef f(x: int) -> int:\n    '''Doc.'''\n"
CODE = "def f(x):\n    return x\n"

RESPONSES = {
    "fenced": (f"Sure:\n```python\n{CODE}```\nDone.", CODE),
    "the last block that defines it": (
        f"```python\ndef f(x): pass\n```\n```py\n{CODE}```\n```python\nf(3)\n```",
        CODE,
    ),
    "no language": (f"```\n{CODE}```", CODE),
    "tildes": (f"~~~Python3\n{CODE}~~~", CODE),
    "truncated": (f"```python\n{CODE}", CODE),
    "in a list": ("1. So:\n   ```python\n   def f(x):\n       return x\n   ```", CODE),
    "carriage returns": (f"```python\r\n{CODE}```".replace("\n", "\r\n").replace("\r\r", "\r"), CODE),
    "longer fence": (f"````python\n{CODE}```\n````", f"{CODE}```\n"),
    "another language": (f"```bash\npip install f\n```\n```python\n{CODE}```", CODE),
    "bare": (CODE, CODE),
    "assigned": ("```python\nf = lambda x: x\n```", "f = lambda x: x\n"),
    "annotated": ("f: object = abs", "f: object = abs"),
    "completion": ("    return x\n", PROMPT + "    return x\n"),
    "completion in a block": ("```python\nreturn x\n```", PROMPT + "    return x\n"),
    "prose around it": (f"The function:\n\n{CODE}\nThis function returns its argument.\n", CODE),
    "indented as a whole": ("So:\n\n    def f(x):\n        return x\n\nDone.", CODE),
    "tags": (f"[PYTHON]\n{CODE}[/PYTHON]", CODE),
    "another label": (f"```python\ndef f(x): pass\n```\nfixed:\n```plaintext\n{CODE}```", CODE),
    "a fence glued to prose": (f"Here: ```python\n{CODE}```", CODE),
    "a closing fence glued to the code": (f"```python\n{CODE.rstrip()}```", CODE),
    "one line": ("```python def f(x): return x```", "def f(x): return x\n"),
    "a fence opened again": (f"`````python\n# plan\n```\n\nNow:\n````python\n{CODE}````\n", CODE),
    "a fence in a docstring": (
        '```python\ndef f(x):\n    """Doc.\n```\nf(1)\n```\n    """\n    return x\n```',
        'def f(x):\n    """Doc.\n```\nf(1)\n```\n    """\n    return x\n',
    ),
    "a fence that the prompt opened": (f"{CODE}```\nIt returns x.", CODE),
    "a shorter closing fence": (f"````python\n{CODE}```", CODE),
    "prose in Chinese": (f"\u89e3\u7b54\uff1a\n\n{CODE}\n\u8fd4\u56de x\u3002", CODE),
    "a plan as a list": (f"Plan:\n- take x\n- return it\n\n{CODE}", CODE),
    "a language without its fence": (f"python\n{CODE}", CODE),
    "a listing of LaTeX": (f"\\begin{{verbatim}}\n{CODE}\\end{{verbatim}}", CODE),
    "a byte-order mark": (f"\ufeff{CODE}", CODE),
    "an end mark": (f"{CODE}<|endoftext|>", CODE.rstrip()),
    "a draft in a thought": (f"<think>\n```python\ndef f(x): pass\n```\n</think>\n{CODE}", f"\n{CODE}"),
    "a helper in an earlier block": (
        "```python\ndef g(x):\n    return x\n```\n```python\ndef f(x):\n    return g(x)\n```",
        "def g(x):\n    return x\n\ndef f(x):\n    return g(x)\n",
    ),
    "an example of its use in an earlier block": (
        "```python\nresult = f(2)\nprint(result)\n```\n```python\ndef f(x):\n    result = x\n    return result\n```",
        "def f(x):\n    result = x\n    return result\n",
    ),
    "an example whose name the solution only reads": (
        "```python\nresult = f(2)\n```\n```python\ndef f(x):\n    return x + result\n```",
        "def f(x):\n    return x + result\n",
    ),
    "input in an earlier block": (
        "```python\nn = int(input())\n```\n```python\ndef f(n, m=1):\n    return n\n```",
        "def f(n, m=1):\n    return n\n",
    ),
    "no Python in an earlier block": (
        "```\nresult = x plus y\n```\n```python\ndef f(x):\n    for result in x:\n        return result\n```",
        "def f(x):\n    for result in x:\n        return result\n",
    ),
    "names in a docstring and a comment": (
        '```python\nimport nothing\nnumbers = 1 +\n```\n```python\ndef f(x):\n    """Add numbers, \\"nothing\\"."""\n'
        "    return x  # numbers\n```",
        'def f(x):\n    """Add numbers, \\"nothing\\"."""\n    return x  # numbers\n',
    ),
    "a constant of an earlier block": (
        "```python\nMOD = 10**9 + 7\n```\n```python\ndef f(x):\n    return g(x, key=f'{MOD}')\n```\n",
        "MOD = 10**9 + 7\n\ndef f(x):\n    return g(x, key=f'{MOD}')\n",
    ),
    "a constant that another function's variable is named like": (
        "```python\nmemo = {}\n```\n```python\ndef f(x):\n    return memo.get(x, h(memo=memo))\n```",
        "memo = {}\n\ndef f(x):\n    return memo.get(x, h(memo=memo))\n",
    ),
    "a helper that shares a variable's name": (
        "```python\ndef g(x):\n    return x\n```\n```python\ndef h(g):\n    return g\n\ndef f(x):\n    return g(x)\n```",
        "def g(x):\n    return x\n\ndef h(g):\n    return g\n\ndef f(x):\n    return g(x)\n",
    ),
    "helpers after imports from the future": (
        "```python\nimport math\n```\n```python\n# Typed.\nfrom __future__ import annotations\n\ndef f(x):\n"
        "    return math.floor(x)\n```",
        "# Typed.\nfrom __future__ import annotations\nimport math\n\n\ndef f(x):\n    return math.floor(x)\n",
    ),
    "the future in a comment": (
        "```python\nimport math\n```\n```python\n# no from __future__ import\ndef f(x):\n    return math.floor(x)\n```",
        "import math\n\n# no from __future__ import\ndef f(x):\n    return math.floor(x)\n",
    ),
    "a word and a colon after it": (f"{CODE}\nExplanation: it returns x.", f"{CODE}"),
    "a note after it": (f"{CODE}\nNote: This works, since x = x.", f"{CODE}"),
    "bold after it": (f"{CODE}\n**Explanation**: it returns x.", f"{CODE}"),
    "a name in backquotes after it": (f"{CODE}\n`f` returns x.", f"{CODE}"),
    "the next question after it": (f"{CODE}\nQ: next?", f"{CODE}"),
    "small letters before it": (f"here's the code\n{CODE}", CODE),
    "an annotated constant after it": (f"{CODE}\nMOD: int = 7\n", f"{CODE}\nMOD: int = 7\n"),
    "an import of the prompt": (
        "```python\ndef f(x: List):\n    return x\n```",
        "from typing import List\n\ndef f(x: List):\n    return x\n",
    ),
    "imported": ("```python\nfrom operator import abs as f\n```", "from operator import abs as f\n"),
    "a test imports it": (f"```python\n{CODE}```\n```python\nfrom solution import f\nf(1)\n```", CODE),
    "a completion that lost its blanks": ("y = x\n    return y\n", PROMPT + "    y = x\n    return y\n"),
    "a completion indented by three": ("   return x\n", PROMPT + "    return x\n"),
    "nothing": ("", None),
    "spaces": (" \n ", None),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_the_program_is_found(name: str) -> None:
    response, expected = RESPONSES[name]
    assert extract_code(response, "f", PROMPT) == expected


def test_prose_without_a_prompt_to_complete_is_no_program() -> None:
    assert extract_code("I think f is hard.", "f") is None
    assert extract_code("```python\ndef g(): pass\n```", "f") is None
    assert not defines("  def f(): pass", "f")
    assert not defines("f == 1", "f")
    assert not defines("def ff(): pass", "f")


@pytest.mark.parametrize(
    "text", ["`" * 2_000_000, "```\n" * 500_000, "def " * 500_000, "\n" * 2_000_000, "f:" * 500_000]
)
def test_hostile_responses_take_no_time(text: str) -> None:
    code = extract_code(text, "f", PROMPT)
    assert code is None or len(code) < 200_000
    assert len(fenced_blocks("```\nx\n```")) == 1


def test_a_missing_environment_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPO_EVALPLUS_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UserError, match="run `make evalplus`, or set DIPO_EVALPLUS_PYTHON"):
        code_env.evalplus_python()
    wrong = tmp_path / "python"
    wrong.write_text("#!/bin/sh\necho 0.2.0\n")
    wrong.chmod(0o755)
    monkeypatch.setenv("DIPO_EVALPLUS_PYTHON", str(wrong))
    with pytest.raises(UserError, match=r"has no evalplus 0\.3\.1 \(found: 0\.2\.0\)"):
        code_env.evalplus_python()


def test_data_that_is_missing_damaged_or_not_official_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIPO_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("DIPO_DATA_DIR", "HUMANEVAL_OVERRIDE_PATH", "MBPP_OVERRIDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--data-dir or the variable DIPO_DATA_DIR"):
        code_env.data_path("mbpp")
    with pytest.raises(UserError, match="cannot be read"):
        code_env.data_path("mbpp", tmp_path)
    path = tmp_path / code_env.DATASETS["mbpp"][1]
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match="not a complete gzip file"):
        code_env.data_path("mbpp", tmp_path)
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(UserError, match="has md5"):
        code_env.data_path("mbpp", tmp_path)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", str(path))
    with pytest.raises(UserError, match="has md5"):
        code_env.data_path("mbpp")
