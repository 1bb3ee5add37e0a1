"""Mistakes in a recipe and on the command line. Each takes a Case and makes one, as its random numbers decide."""

from __future__ import annotations

import datetime
from typing import Any

from case import Case, Edit

from dipo_openrlhf.recipe.keys import all_keys
from dipo_openrlhf.recipe.load import known_keys

KEYS = known_keys()
NUMBERS = [key for key in all_keys() if key.allowed is not None]
ODD: list[Any] = [
    "word", "", "\u2603", [], {}, {"a": 1}, [1, 2, 3], [[1]], [None], True, False, 1.5, -1, 0, 10**30, -(10**30),
    float("inf"), float("nan"), 1e-300, "1e-3", "0x10", "nan", "007", "\x1b[31mred", "../../x", "$(touch owned)",
        "a" * 3000,
    "\u202egnp.exe", "two\nlines", datetime.date(2024, 1, 1), b"bytes", "None", "~", "*", "@x", "{}", "{input}", ",",
    ",,",
]  # fmt: skip
HOSTILE = [
    "@x",
    "%x",
    "[a",
    "*",
    "&x",
    "!!python/name:os.system",
    "",
    " ",
    "- a",
    "{a: b}",
    "\x1b[2J",
    "a" * 5000,
    "\udcff",
    "a\nb",
]


def _misspelt(case: Case, key: str) -> str:
    place = case.random.randrange(len(key))
    return case.random.choice(
        [
            key[:place] + key[place + 1 :],
            key[:place] + key[place] + key[place:],
            key.replace("_", "-"),
            key.upper(),
            f"{key}s",
        ]
    )


def drop_a_key(case: Case) -> None:
    key = case.random.choice(sorted(case.settings))
    del case.settings[key]
    case.say(f"dropped {key}", key, *key.split("."), "train.batch_size", "rollout")


def misspell_a_key(case: Case) -> None:
    key = case.random.choice(sorted(case.settings))
    new = _misspelt(case, key)
    case.settings[new] = case.settings.pop(key)
    case.say(f"{key} as {new}", new, key)


def rename_a_section(case: Case) -> None:
    section = case.random.choice(["actor", "data", "rollout", "train", "dipo", "run", "evaluate", "ckpt"])
    new = _misspelt(case, section)
    for key in [key for key in case.settings if key.startswith(f"{section}.")]:
        case.settings[new + key.removeprefix(section)] = case.settings.pop(key)
    case.say(f"{section} as {new}", new, section)


def odd_value(case: Case) -> None:
    key, value = case.random.choice(KEYS), case.random.choice(ODD)
    case.settings[key] = value
    case.say(f"{key}: {value!r:.80}", key, *key.split("."), "mine.yaml")


def out_of_range(case: Case) -> None:
    key = case.random.choice(NUMBERS)
    assert key.allowed is not None
    value = case.random.choice(
        [key.allowed.low - 1, key.allowed.low, key.allowed.high, key.allowed.high + 1, 10**9]
    )
    whole = int(value) if key.kind is int and abs(value) < 1e300 else value
    case.settings[key.name] = [whole] * (key.count or 1) if key.count is not None else whole
    case.say(f"{key.name}: {whole}", key.name, *key.name.split("."))


def wrong_section(case: Case) -> None:
    section, value = (
        case.random.choice(["actor", "run", "dipo", "evaluate", "train.batch_size"]),
        case.random.choice(ODD),
    )
    for key in [key for key in case.settings if key.startswith(section)]:
        del case.settings[key]
    case.settings[section] = value
    case.say(f"{section}: {value!r:.80}", section, "actor.model_name_or_path", "a plain word")


def bad_extends(case: Case) -> None:
    value = case.random.choice(
        ["mine.yaml", "nothing", "quickstrat", ["dapo", "nothing"], 3, [None], "../", "/", "\x00", [], "dapo"]
    )
    case.settings["extends"] = value
    case.say(f"extends: {value!r}", "extends", "mine.yaml", "nothing", "quickstrat")


def break_the_yaml(case: Case) -> None:
    def cut(text: bytes) -> bytes:
        return text[: case.random.randrange(len(text))]

    def repeat_a_line(text: bytes) -> bytes:
        lines = text.splitlines(True)
        place = case.random.randrange(len(lines))
        return b"".join([*lines[:place], lines[place], *lines[place:]])

    def swap_a_byte(text: bytes) -> bytes:
        place = case.random.randrange(len(text))
        return (
            text[:place]
            + bytes([case.random.choice(b"\x00\x07\t{}[]:&*!|>'\"%@`#-,? \xff\xe9")])
            + text[place + 1 :]
        )

    def indent_a_line(text: bytes) -> bytes:
        lines = text.splitlines(True)
        place = case.random.randrange(len(lines))
        lines[place] = case.random.choice([b"  ", b"\t", b" "]) + lines[place]
        return b"".join(lines)

    edits: list[tuple[str, Edit]] = [
        ("cut", cut), ("a line twice", repeat_a_line), ("another byte", swap_a_byte), ("indented", indent_a_line),
        ("latin-1", lambda text: text + "run.name: é\n".encode("latin-1")), ("empty", lambda text: b""),
        ("utf-16", lambda text: text.decode().encode("utf-16")), ("a byte order mark",
        lambda text: b"\xef\xbb\xbf" + text),
        ("a list", lambda text: b"- a\n"), ("a word", lambda text: b"word\n"), ("two documents",
        lambda text: text + b"---\n" + text),
        ("an unknown alias", lambda text: text + b"critic: *nothing\n"), ("a tag",
        lambda text: text + b"critic: !!python/name:os.system\n"),
        ("an endless alias", lambda text: text + b"critic: &a [*a]\n"), ("binary", lambda text: bytes(range(256)) * 8),
        ("deep", lambda text: text + b"critic: " + b"[" * 500 + b"]" * 500 + b"\n"), ("a merged word",
        lambda text: text + b"critic: {<<: word}\n"),
        ("a number as key", lambda text: text + b"7: x\n"), ("huge", lambda text: text + b"# " + b"x" * 1_100_000),
    ]  # fmt: skip
    what, edit = case.random.choice(edits)
    case.recipe_edits.append(edit)
    case.say(f"recipe: {what}", "mine.yaml")


def another_recipe(case: Case) -> None:
    (case.folder / "folder.yaml").mkdir(exist_ok=True)
    name = case.random.choice(
        [
            "nothing.yaml",
            "folder.yaml",
            "",
            "quickstart",
            "math_qwen3_4b+nothing",
            "dapo",
            "+",
            "a+b",
            "/",
            "x" * 300,
            "\x1b[2J",
        ]
    )
    case.words[0] = name
    case.say(
        f"recipe {name!r:.60}", name[:20], "recipe", "variant", "actor.model_name_or_path", "cannot be read"
    )


def odd_override(case: Case) -> None:
    key = case.random.choice(KEYS)
    value = case.random.choice([str(one) for one in ODD if not isinstance(one, bytes)] + HOSTILE)
    case.words += case.random.choice(
        [[f"--{key}", value], [f"--{key}={value}"], [f"--{key}"], [f"--{key}", value, value]]
    )
    case.say(f"{case.words[-2:]!r:.120}", key, *key.split("."), "unexpected")


def bad_option(case: Case) -> None:
    word = case.random.choice(
        ["--foo", "-x", "--", "--=3", "---run.dir", "-", "--run", "--run.", "--.dir", "extra", "--dry-run=3",
        "--resume=x",
         "--run.dirr", "--verbos", "--actor.adam.lr=", "--evaluate.suites=", "--data.prompt_dataset=", "--\x1b[31m",
         "--a b"]
    )  # fmt: skip
    case.words.insert(case.random.randrange(len(case.words) + 1), word)
    case.say(
        f"option {word!r}",
        word.strip("-").partition("=")[0] or "--",
        "unexpected",
        "no recipe",
        "must be",
        "is missing",
        "Usage",
    )


def wrong_suites(case: Case) -> None:
    (case.folder / "suite.yaml").write_text(
        case.random.choice(["", "- a", "name: 3", "name: x\ndata: nothing.jsonl\n", "{"])
    )
    value = case.random.choice(
        [
            "gsm9k",
            "gsm8k,gsm9k",
            "suite.yaml",
            "nothing.yaml",
            "nothing.py",
            ",",
            "gsm8k,gsm8k",
            "[gsm8k",
            "../x",
            "Gsm8k",
        ]
    )
    case.words += ["--evaluate.suites", value, *case.random.choice([[], ["--evaluate.data_dir", "nothing"]])]
    case.say(f"suites {value}", "evaluate.suites", "evaluate.data_dir", "suite.yaml")


def bad_place(case: Case) -> None:
    (case.folder / "afile").write_text("x")
    key = case.random.choice(["run.dir", "ckpt.path", "ckpt.output_dir", "logger.tensorboard_dir"])
    value = case.random.choice(
        [
            "afile",
            "afile/x",
            "/proc/x",
            "y" * 300,
            "a\x1bb",
            "/",
            "",
            "~nobody-here/x",
            "/dev/null",
            "a\x00b",
            "/sys/x",
        ]
    )
    case.settings[key] = value
    case.say(f"{key}: {value!r:.60}", key, "afile")


MISTAKES = [
    drop_a_key, misspell_a_key, rename_a_section, odd_value, odd_value, odd_value, out_of_range, out_of_range,
    wrong_section, bad_extends,
    break_the_yaml, break_the_yaml, break_the_yaml, another_recipe, odd_override, odd_override, bad_option,
    wrong_suites, bad_place,
]  # fmt: skip
