"""The mistakes of docs/mistakes.md: how each is made. What is printed is what the command says.

PYTHONPATH=. python tests/mistakes/documented.py    runs them and writes the document
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from case import REWARD, Case, run

from dipo_openrlhf.recipe.files import BUILT_IN

DOCUMENT = Path(__file__).parents[2] / "docs" / "mistakes.md"
Make = Callable[[Case], None]


@dataclass(frozen=True)
class Mistake:
    """`words`: of the command, `dipo train mine.yaml` and these with --dry-run unless they name another command."""

    section: str
    what: str
    words: list[str] = field(default_factory=list)
    make: Make | None = None
    whole: bool = False  # the words are the whole command


def _rows(**changed: Any) -> Make:
    """Every row with these values."""

    def make(case: Case) -> None:
        case.rows = [{**row, **changed} for row in case.rows]

    return make


def _row(number: int, row: Any) -> Make:
    def make(case: Case) -> None:
        case.rows[number - 1] = row

    return make


def _recipe(text: bytes, old: bytes = b"") -> Make:
    """Text added to the recipe, or in the place of `old`."""

    def make(case: Case) -> None:
        case.recipe_edits.append(lambda before: before.replace(old, text) if old else before + text)

    return make


def _rows_as(encoding: str) -> Make:
    def make(case: Case) -> None:
        case.rows[1]["input"] = "caf\u00e9"
        case.data_edits.append(lambda rows: rows.decode().replace("\\u00e9", "\u00e9").encode(encoding))

    return make


def _reward(content: str) -> Make:
    def make(case: Case) -> None:
        (case.folder / "my_reward.py").write_text(content)
        case.settings["reward.remote_url"] = "my_reward.py"

    return make


def _returns(value: str) -> Make:
    return _reward(f"def reward_func(queries, prompts, labels):\n    return {value}\n")


def _in_model(name: str, content: bytes | Callable[[bytes], bytes] | None) -> Make:
    def make(case: Case) -> None:
        path = case.folder / "model" / name
        before = path.read_bytes() if path.exists() else b""
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content(before) if callable(content) else content)

    return make


def _file(name: str, content: str) -> Make:
    return lambda case: void((case.folder / name).write_text(content))


def void(_: object) -> None:
    """For lambdas."""


def _long_prompt_in_json(case: Case) -> None:
    (case.folder / "rows.json").write_text(json.dumps([{"input": "1 + " * 200, "label": "200"}]))
    case.settings["data.prompt_dataset"] = "rows.json"


def _parquet(case: Case) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"input": ["1 + 1 = ?", None], "label": ["2", "3"]}), case.folder / "rows.parquet"
    )
    case.settings["data.prompt_dataset"] = "rows.parquet"


def _config(**changed: Any) -> Make:
    def edit(content: bytes) -> bytes:
        return json.dumps({**json.loads(content), **changed}).encode()

    return _in_model("config.json", edit)


def _two_types(case: Case) -> None:
    (case.folder / "more.jsonl").write_text('{"input": "1 + 1 = ?", "label": 2}\n')
    case.settings["data.prompt_dataset"] = "prompts.jsonl,more.jsonl"


_CHAT = [{"role": "user", "content": "1 + 1 = ?"}]
_NO_SYSTEM = (
    b"{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"
)
_SYSTEM_ROW = {
    "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1 = ?"}],
    "label": "2",
}
_RECORD = "name: x\nsource: mine.yaml\nhash: ab\ndata_sha256: cd\nsettings: {}\n"
_SOMETIMES = """\
def reward_func(queries, prompts, labels):
    return {"rewards": 1.0, "scores": 1.0%s}
"""

_KEYS, _DATA, _MODEL, _REWARD = "Recipe and command line", "Prompts and labels", "Model", "Reward file"
_PLACES, _OTHER = "Folders", "Other commands"
MISTAKES = [
    Mistake(_KEYS, "a key misspelt", ["--rollout.batchsize", "64"]),
    Mistake(_KEYS, "a value out of range", ["--train.seed", "-1"]),
    Mistake(_KEYS, "greedy sampling in training", ["--rollout.temperature", "0"]),
    Mistake(_KEYS, "a batch size of 0", ["--train.batch_size", "0"]),
    Mistake(_KEYS, "no number", ["--actor.adam.lr", "@x"]),
    Mistake(_KEYS, "a batch that the groups do not fill", ["--train.batch_size", "500"]),
    Mistake(_KEYS, "a setting that the method replaces", ["--actor.eps_clip", "0.1"]),
    Mistake(_KEYS, "a template beside the chat template", ["--data.input_template", "Q: {}"]),
    Mistake(_KEYS, "a key of another trainer", ["--learning_rate", "1e-6"]),
    Mistake(_KEYS, "an override in another trainer's form", ["actor.adam.lr=1e-6"]),
    Mistake(_KEYS, "an option without a value", ["--train.seed"]),
    Mistake(_KEYS, "a power of ten without its sign", ["--actor.adam.lr", "5e6"]),
    Mistake(_KEYS, "two values in one", ["--actor.eps_clip_low_high", "0.2,0.28"]),
    Mistake(_KEYS, "a recipe that is not there", ["train", "mine.yml"], whole=True),
    Mistake(_KEYS, "a best by no suite of the run", ["--watch.best", "gsm8k"]),
    Mistake(_KEYS, "samples that are all alike", ["--evaluate.samples", "8"]),
    Mistake(_KEYS, "an override before the recipe", ["train", "--train.seed=1", "mine.yaml"], whole=True),
    Mistake(_KEYS, "no model", ["train", "quickstart", "--actor.adam.lr", "1e-5"], whole=True),
    Mistake(_KEYS, "suites that are no names", ["--evaluate.suites", "3"]),
    Mistake(_KEYS, "a key twice", make=_recipe(b"run.name: x\n")),
    Mistake(_KEYS, "a merge key without a mapping", make=_recipe(b"critic: {<<: word}\n")),
    Mistake(_KEYS, "a recipe cut in a string", make=_recipe(b'run.wandb: "of\n')),
    Mistake(_KEYS, "a recipe in Latin-1", make=_recipe("run.dir: caf\u00e9\n".encode("latin-1"))),
    Mistake(_KEYS, "a run's own recipe.yaml", ["train", "recipe.yaml"], _file("recipe.yaml", _RECORD), whole=True),
    Mistake(_KEYS, "no checkpoints", ["--ckpt.save_steps", "-1"]),
    Mistake(_DATA, "a split that a file does not have", ["--data.prompt_split", "test"]),
    Mistake(_DATA, "another name of the key", ["--data.label_key", "answer"]),
    Mistake(_DATA, "a prompt that is a number", make=_row(2, {"input": 7, "label": "7"})),
    Mistake(_DATA, "messages with other keys", make=_row(1, {"input": [{"from": "human", "value": "x"}], "label": "7"})),
    Mistake(_DATA, "a message without content", make=_row(1, {"input": [{"role": "user"}], "label": "7"})),
    Mistake(_DATA, "half of a character", make=_row(2, {"input": "\ud800", "label": "7"})),
    Mistake(_DATA, "messages written as text", make=_row(2, {"input": json.dumps(_CHAT), "label": "7"})),
    Mistake(_DATA, "messages with the answer", make=_rows(input=[*_CHAT, {"role": "assistant", "content": "2"}])),
    Mistake(_DATA, "a number that is none", make=_row(1, {"input": "1 + 1 = ?", "label": float("nan")})),
    Mistake(_DATA, "an object of several lines", make=lambda case: setattr(
        case, "rows", [json.dumps(case.rows[0], indent=1)])),
    Mistake(_DATA, "files of different types", make=_two_types),
    Mistake(_DATA, "an evaluation set with other keys", ["--eval.dataset", "e.jsonl"],
            _file("e.jsonl", '{"question": "x"}')),
    Mistake(_DATA, "fewer prompts than a batch", make=lambda case: setattr(case, "rows", case.rows[:10])),
    Mistake(_DATA, "prompts with the template's marks", make=_row(1, {"input": "1 + 1 = ?<|im_end|>", "label": "2"})),
    Mistake(_DATA, "a row cut", make=_row(64, '{"input": "1 + 1 = ?", "la')),
    Mistake(_DATA, "rows in Latin-1", make=_rows_as("latin-1")),
    Mistake(_DATA, "rows in UTF-16", make=_rows_as("utf-16")),
    Mistake(_DATA, "nulls in a parquet file", make=_parquet),
    Mistake(_DATA, "GSM8K's solutions as labels", make=_rows(label="We have 72.\n#### 72")),
    Mistake(_DATA, "a label that is an object", make=_rows(label={"gold": "5"})),
    Mistake(_DATA, "labels that all look like dates", make=_rows(label="2024-05-01")),
    Mistake(_DATA, "a prompt longer than its room", make=_row(3, {"input": "1 + " * 200, "label": "200"})),
    Mistake(_DATA, "the same in a list of JSON", make=_long_prompt_in_json),
    Mistake(_DATA, "a template without the role system", make=lambda case: (
        _in_model("chat_template.jinja", _NO_SYSTEM)(case), setattr(case, "rows", [_SYSTEM_ROW] * 4))[0]),
    Mistake(_DATA, "an evaluation set that is not there", ["--eval.dataset", "nothing.jsonl"]),
    Mistake(_MODEL, "a folder that holds no model", ["--actor.model_name_or_path", "."]),
    Mistake(_MODEL, "a git-lfs pointer", make=_in_model("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n")),
    Mistake(_MODEL, "weights cut", make=_in_model("model.safetensors", lambda content: content[:5000])),
    Mistake(_MODEL, "no weights", make=_in_model("model.safetensors", None)),
    Mistake(_MODEL, "a folder above the model's", ["--actor.model_name_or_path", "above"], lambda case: void(
        shutil.copytree(case.folder / "model", case.folder / "above" / "mine"))),
    Mistake(_MODEL, "a file of it", ["--actor.model_name_or_path", "model/config.json"]),
    Mistake(_MODEL, "a classifier", make=_config(architectures=["Qwen3ForSequenceClassification"])),
    Mistake(_MODEL, "quantized weights", make=_config(quantization_config={"quant_method": "gptq"})),
    Mistake(_MODEL, "a config.json of another size", make=_config(hidden_size=4096)),
    Mistake(_MODEL, "no chat template", make=_in_model("chat_template.jinja", None)),
    Mistake(_MODEL, "no tokenizer", make=_in_model("tokenizer.json", None)),
    Mistake(_MODEL, "longer than its context", ["--data.max_len", "4096"]),
    Mistake(_REWARD, "a name that is none", ["--reward.remote_url", "maths"]),
    Mistake(_REWARD, "it raises", make=_returns("1 / 0")),
    Mistake(_REWARD, "it is async", make=_reward("async " + REWARD)),
    Mistake(_REWARD, "a function under another name", make=_reward(REWARD.replace("reward_func", "compute_score"))),
    Mistake(_REWARD, "arguments of another trainer", make=_reward(
        "def reward_func(completions, **kwargs):\n    return 1.0\n")),
    Mistake(_REWARD, "it returns a number", make=_returns("1.0")),
    Mistake(_REWARD, "it returns a list", make=_returns("[1.0]")),
    Mistake(_REWARD, "it returns verl's keys", make=_returns('{"score": 1.0}')),
    Mistake(_REWARD, "it returns no reward", make=_returns('{"rewards": None}')),
    Mistake(_REWARD, "a figure of some samples alone", make=_reward(
        _SOMETIMES % ', "extra_logs": {"fmt": 1.0} if labels[0] == "0" else {}')),
    Mistake(_REWARD, "reward_max of some samples alone", make=_reward(
        _SOMETIMES % ', **({"reward_max": 1.0} if labels[0] == "0" else {})')),
    Mistake(_REWARD, "it imports a file beside it", make=_reward("import my_helper\n" + REWARD)),
    Mistake(_REWARD, "a dataclass that OpenRLHF cannot load", make=_reward(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    n: int\n"
        + REWARD)),
    Mistake(_PLACES, "a file in the place of a folder", ["--run.dir", "afile"], _file("afile", "")),
    Mistake(_PLACES, "a folder below a file", ["--ckpt.path", "afile/x"], _file("afile", "")),
    Mistake(_PLACES, "where nothing can be written", ["--run.dir", "/proc/x"]),
    Mistake(_PLACES, "an address", ["--ckpt.path", "s3://bucket/run"]),
    Mistake(_PLACES, "a variable", ["--run.dir", "$HOME/run"]),
    Mistake(_PLACES, "the model's own folder", ["--ckpt.output_dir", "model"]),
    Mistake(_PLACES, "a name that is too long", ["--run.dir", "x" * 300]),
    Mistake(_PLACES, "another user's home", ["--run.dir", "~nobody-here/x"]),
    *(Mistake(_OTHER, what, words.split(), _file("afile", ""), whole=True) for what, words in (
        ("a quickstart below a file", "quickstart --run-dir afile/x"),
        ("a task that a model does not have", "quickstart --model smollm2 --task tools"),
        ("prompts below a file", "data arithmetic --out afile/x.jsonl"),
        ("prompts compared with nothing", "data gsm8k --data-dir nothing --out x.jsonl"),
        ("a script in the place of a file", "submit mine.yaml --to local --run.dir afile"),
        ("a job whose folder is on one node", "submit mine.yaml --to slurm --time 1:00:00"),
        ("a job whose checkpoints are on one node",
         "submit mine.yaml --to slurm --time 1:00:00 --run.dir /shared/mine --ckpt.path ckpt"),
    )),
]  # fmt: skip


def command(mistake: Mistake) -> list[str]:
    return mistake.words if mistake.whole else ["train", "mine.yaml", *mistake.words, "--dry-run"]


def printed(mistake: Mistake, folder: Path, model: Path) -> str:
    """The line that the command prints, without the folder that the mistake was made in."""
    shutil.copytree(model, folder / "model")
    case = Case(folder, Path("model"), random.Random(0))
    if mistake.make is not None:
        mistake.make(case)
    case.write()
    ended = run(folder, command(mistake))
    lines = [line for line in ended.err.splitlines() if line.startswith(("error: ", "warning: "))]
    if len(lines) != 1 or ended.status != (2 if lines[0].startswith("error") else 0):
        raise AssertionError(f"{mistake.what}: {ended}")
    return lines[0].replace(f"{BUILT_IN}/", "").replace(f"{folder}/", "").replace(str(folder), "FOLDER")


def document(lines: Iterator[tuple[Mistake, str]]) -> str:
    """docs/mistakes.md."""
    made = [_HEAD]
    for section, group in groupby(lines, key=lambda pair: pair[0].section):
        made += ["", f"## {section}", "", "| mistake | line |", "|---|---|"]
        made += [row(mistake, line) for mistake, line in group]
    return "\n".join(made) + "\n"


def row(mistake: Mistake, line: str) -> str:
    return f"| {_what(mistake)} | `` {line.replace('|', chr(92) + '|')} `` |"


def _what(mistake: Mistake) -> str:
    """With the words that make it, where they do alone."""
    words = shlex.join(["dipo"] * mistake.whole + mistake.words)
    return f"{mistake.what}: `{words}`" if words and len(words) < 120 else mistake.what


_HEAD = """# Mistakes

What a mistake prints: one line, before anything starts, and exit status 2 (0 for a warning). Every line is what the
command says in a folder with the quickstart's recipe as `mine.yaml`, a small model and 64 prompts: a test makes each
mistake and compares (`tests/mistakes/documented.py`, which also writes this page). The command is
`dipo train mine.yaml --dry-run`, with what is named; a start without `--dry-run` checks the same and more.
What the messages of a training mean that has started is told elsewhere: docs/troubleshooting.md."""


def main() -> None:
    from dipo_openrlhf.rehearse import tasks
    from dipo_openrlhf.rehearse.model import make_model

    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        make_model(root / "model", "Qwen/Qwen3-4B-Base", tasks.problems("math", 8))
        found = []
        for number, mistake in enumerate(MISTAKES):
            folder = root / f"case{number}"
            folder.mkdir()
            found.append((mistake, printed(mistake, folder, root / "model")))
        DOCUMENT.write_text(document(iter(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
