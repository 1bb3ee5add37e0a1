"""Mistakes in the files that a recipe names: prompts, labels, the model and the reward."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from case import REWARD, Case, Edit

VALUES: list[Any] = [
    None, 3, 1.5, True, [], {}, "", " ", [None], [[]], ["text"], {"gold": "5"}, [{"role": "user"}], [{"role": 3,
    "content": "x"}],
    [{"from": "human", "value": "x"}], [{"role": "user", "content": None}], [{"role": "nobody", "content": "x"}],
    [{"content": "x"}],
    [{"role": "user", "content": [{"type": "text", "text": "x"}]}], [{"role": "user", "content": [3]}], 10**400,
    "\ud800", "a" * 100_000,
    "2024-01-01", "2024-01-01T00:00:00", "We have 72.\n#### 72", "no answer here at all ...", "\x00", "\u202e",
    "<|im_end|>", "{}", "{0}", "\\frac{", "[1, 2",
]  # fmt: skip
REWARDS = [
    "", "def reward_func(:\n", "x = 1\n", "reward_func = 3\n", "import nothing_like_this\n" + REWARD,
    "raise SystemExit(0)\n",
    "import os\nos._exit(0)\n", "import sys\nsys.exit(3)\n", "raise KeyboardInterrupt\n",
    "print('{}')\n" + REWARD.replace("float(", "str("),
    *(f"def reward_func(queries, prompts, labels):\n    {body}\n" for body in (
        "return None", "return 1.0", "return [1.0]", "return {}", "return {'rewards': None}", "return {'rewards': 'a'}",
        "return {'rewards': [float('nan')]}", "return {'rewards': [1, 2]}", "return {'rewards': [[1]]}",
        "return {'score': 1}",
        "return {'rewards': 1, 'extra_logs': 3}", "return {'rewards': 1, 'extra_logs': {'a': 'b'}}", "return {1: 2}",
        "raise ValueError('two\\nlines')",
        "raise BaseException", "return {'rewards': 10**400}", "import torch; return torch.tensor([1.0])", "yield 1",
        "return 1 / 0",
        "import os; os.kill(os.getpid(), 9)", "return {'rewards': 1, 'extra_logs': {labels[0]: 1}}",
        "exec('x' * 10)", "return reward_func(queries, prompts, labels)",
        "raise UnicodeDecodeError('utf-8', b'x', 0, 1, '\\ud800')", "return {'rewards': object()}",
        "return {'rewards': {}}", "print('\\x1b[2J'); return",
    )),
    "async def reward_func(queries, prompts, labels):\n    return {'rewards': 1}\n",
    "def reward_func():\n    return {'rewards': 1}\n",
    "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n" + REWARD,
    "\x00", "# \udce9\n",
]  # fmt: skip


def odd_rows(case: Case) -> None:
    value, key = case.random.choice(VALUES), case.random.choice(["input", "label"])
    share = case.random.choice([1.0, 0.5, 0.02])
    changed = [
        row
        for row in case.rows
        if isinstance(row, dict) and (case.random.random() < share or row is case.rows[3])
    ]
    for row in changed:
        row[key] = value
    case.say(f"{key} of {len(changed)} rows: {value!r:.60}", "prompts.jsonl", "rollout.batch_size", "data.")


def rows_of_another_kind(case: Case) -> None:
    rows = (
        "{}", "null", "3", '"x"', "[]", '{"input": "x"}', '{"label": "x"}', "{", '{"input": NaN, "label": "1"}',
        '{"input": "x", "label": Infinity}', '{"input": "x", "input": 3, "label": "1"}', "[" * 5000, "", "\x1b[2J",
    )  # fmt: skip
    row = f"{case.random.choice(rows)}\n"
    case.rows.insert(case.random.randrange(len(case.rows)), row)
    case.say(f"a row {row!r:.40}", "prompts.jsonl")


def another_key(case: Case) -> None:
    key, value = (
        case.random.choice(["data.input_key", "data.label_key"]),
        case.random.choice(["nothing", "", "input", "label", 3]),
    )
    case.settings[key] = value
    case.say(f"{key}: {value!r}", key, "prompts.jsonl")


def break_the_rows(case: Case) -> None:
    edits: list[tuple[str, Edit]] = [
        ("cut", lambda rows: rows[: case.random.randrange(len(rows))]), ("empty", lambda rows: b""),
        ("lines without rows", lambda rows: b"\n\n"),
        ("utf-16", lambda rows: rows.decode().encode("utf-16")), ("a byte order mark",
        lambda rows: b"\xef\xbb\xbf" + rows),
        ("latin-1", lambda rows: rows + '{"input": "é", "label": "1"}\n'.encode("latin-1")), ("one list",
        lambda rows: json.dumps(case.rows[:4]).encode()),
        ("binary", lambda rows: bytes(range(256)) * 4), ("few", lambda rows: rows.splitlines(True)[0]),
        ("without line ends", lambda rows: rows.replace(b"\n", b"")),
        ("with other line ends", lambda rows: rows.replace(b"\n", b"\r")), ("csv",
        lambda rows: b"input,label\n1 + 1,2\n"),
    ]  # fmt: skip
    what, edit = case.random.choice(edits)
    case.data_edits.append(edit)
    case.say(f"rows: {what}", "prompts.jsonl", "rollout.batch_size")


def another_data_file(case: Case) -> None:
    (case.folder / "folder.jsonl").mkdir(exist_ok=True)
    for name in ("text.txt", "data.parquet", "data.json", "packed.jsonl.gz", "loader.py"):
        (case.folder / name).write_bytes(
            case.random.choice([b"", b"PAR1", b"[", b'[{"input": 3}, 3]', b"x = 1\n", b"\xff\xfe"])
        )
    name = case.random.choice(["folder.jsonl", "text.txt", "data.parquet", "data.json", "packed.jsonl.gz",
        "nothing.jsonl", "nothing.parquet",
                               "prompts.jsonl,", "prompts.jsonl,nothing.jsonl", "prompts.jsonl@train",
                               "http://x/y.jsonl", "", "/", ".", "y" * 300 + ".jsonl"])  # fmt: skip
    case.settings["data.prompt_dataset"] = name
    case.say(f"data {name[:60]!r}", "data.prompt_dataset", name[:20] or "data.prompt_dataset", "not checked")


def break_the_model(case: Case) -> None:
    model = case.folder / "model"
    if case.random.random() < 0.3:
        (case.folder / "file").write_text("x")
        name = case.random.choice(
            [
                "./nothing",
                "/nowhere/x",
                "file",
                "",
                "a/b/c/d",
                ".",
                "/",
                "y" * 300,
                "no such model",
                "Qwen/Qwen3-4B-Bsae",
            ]
        )
        case.settings["actor.model_name_or_path"] = name
        case.say(f"model {name[:60]!r}", "actor.model_name_or_path", "not checked")
        return
    if not model.exists():
        shutil.copytree(case.model, model)
    case.settings["actor.model_name_or_path"] = "model"
    path = case.random.choice(sorted(one for one in model.iterdir() if one.is_file()))
    content = case.random.choice(
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"a": 1}',
            b"version https://git-lfs.github.com/spec/v1\n",
            path.read_bytes()[:-1],
            bytes(64),
            None,
        ]
    )
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    case.say(
        f"model's {path.name}: {content if content is None else content[:20]!r}",
        "actor.model_name_or_path",
        "prompts.jsonl",
        "data.max_len",
    )


def odd_config(case: Case) -> None:
    model = case.folder / "model"
    if not model.exists():
        shutil.copytree(case.model, model)
    case.settings["actor.model_name_or_path"] = "model"
    path: Path = model / case.random.choice(
        ["config.json", "tokenizer_config.json", "generation_config.json"]
    )
    content = json.loads(path.read_text()) if path.is_file() else {}
    if not content:
        return
    key, value = (
        case.random.choice(sorted(content)),
        case.random.choice([None, 0, -1, 1.5, "x", [], {}, True, 10**30]),
    )
    content[key] = value
    path.write_text(json.dumps(content))
    case.say(f"{path.name}: {key}: {value!r}", "actor.model_name_or_path", "data.max_len", "prompts.jsonl")


def odd_template(case: Case) -> None:
    model = case.folder / "model"
    if not model.exists():
        shutil.copytree(case.model, model)
    case.settings["actor.model_name_or_path"] = "model"
    template = case.random.choice(["{{", "{% raise %}", "", "{{ messages[5].content }}",
        "{{ raise_exception('System role not supported') }}", "{{ 1/0 }}", "{{ x.y.z }}",
                                   "{% for m in messages %}{{ m.content }}{% endfor %}" * 40,
                                   "{{ ''.__class__.__mro__ }}"])  # fmt: skip
    (model / "chat_template.jinja").write_text(template)
    case.say(f"chat template {template[:40]!r}", "prompts.jsonl", "actor.model_name_or_path", "data.max_len")


def odd_reward(case: Case) -> None:
    content = case.random.choice(REWARDS)
    (case.folder / "my_reward.py").write_bytes(content.encode("utf-8", "surrogateescape"))
    case.settings["reward.remote_url"] = "my_reward.py"
    case.say(f"reward {content!r:.120}", "my_reward.py")


def another_reward(case: Case) -> None:
    (case.folder / "folder.py").mkdir(exist_ok=True)
    key = case.random.choice(["reward.remote_url", "train.agent_func_path"])
    value = case.random.choice(
        [
            "nothing.py",
            "folder.py",
            "maths",
            "",
            "function_call",
            ",",
            "math,math",
            "ftp://x",
            "http://",
            "../x",
            "y" * 300 + ".py",
            "mine.yaml",
        ]
    )
    case.settings[key] = value
    case.say(f"{key}: {value[:60]!r}", key, "prompts.jsonl", "label")


MISTAKES = [
    odd_rows, odd_rows, odd_rows, rows_of_another_kind, another_key, break_the_rows, another_data_file,
    break_the_model, break_the_model, odd_config, odd_template,
    odd_reward, odd_reward, another_reward,
]  # fmt: skip
