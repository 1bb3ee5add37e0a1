"""Every data set's published layouts, through OpenRLHF's own prompt data set and through the reward that it names."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from openrlhf.datasets import PromptDataset

from dipo_eval.errors import UserError
from dipo_eval.runner.progress import Reporter
from dipo_openrlhf.data import all_datasets, get_dataset
from dipo_openrlhf.data.base import TEMPLATES
from dipo_openrlhf.data.golds import gold_problem, gold_response
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.prepare import prepare
from dipo_openrlhf.preflight.prompts import check_data_file
from dipo_openrlhf.quickstart.lessons.arithmetic import build_tokenizer
from dipo_openrlhf.recipe.defaults import REWARDS as REWARD_FILES
from dipo_openrlhf.rewards import function_call, math

REWARDS = {"math": math.reward_func, "function_call": function_call.reward_func}
QUIET = Reporter(False)
SYSTEM = (
    "You can use tools.\n1. Name: find cafe\nDescription: d\nParameters: {}\n2. Name: book\nParameters: {}"
)
USER = "**Dialogue Records History**\n<user> Find a cafe near Kiel and book it for 3, please. </user>"
CALLS = '{"name": "find cafe", "parameters": {"city": "Kiel"}}\n{"name": "book", "parameters": {"count": 3}}'
OUTPUT = f"<think> I call <tool_call> twice. </think>\n<tool_call>\n{CALLS}\n</tool_call>"
ANSWERED = "<think> No tool. </think>\n<response> Which city? </response>"

SEAL = "Find a cafe near Kiel, indoors, and book it for 3 people."
SEAL_TOOLS = [
    {"api_name": "findCafe", "api_description": "Finds a cafe",
     "parameters": {"city": {"type": "str", "description": "Where"}, "kinds": {"type": "list"}}, "required": ["city"]},
    {"api_name": "book", "api_description": "Books it", "parameters": {"count": {"type": "int"}}, "required": []},
]  # fmt: skip
SEAL_CALLS = [
    {"name": "findCafe", "arguments": {"city": "kiel", "kinds": ["indoors"]}},
    {"name": "book", "arguments": {"count": 3}},
]


def dapo(text: str, gold: str, index: str) -> dict:
    prompt = [{"content": TEMPLATES["dapo"].replace("{question}", text), "role": "user"}]
    graded = {"ground_truth": gold, "style": "rule-lighteval/MATH_v2"}
    return {
        "data_source": "math_dapo",
        "prompt": prompt,
        "reward_model": graded,
        "extra_info": {"index": index},
    }


LAYOUTS = {
    "gsm8k": [
        {"id": "a", "question": "Tom has 3 cups and buys 4. How many has he?", "answer": "7"},
        {"question": "Tom has 3 cups and loses 2. How many are left?", "answer": "3-2=<<3-2=1>>1\n#### 1"},
    ],
    "math": [
        {"id": "b", "question": "Find $\\frac12+\\frac12$.", "answer": "1", "level": 1},
        {"problem": "Find $x$ if $2x=1$.", "solution": "It is $\\boxed{\\frac{1}{2}}$.", "type": "Algebra"},
    ],
    "dapo_math": [
        dapo("Find the sum of 1 to 9.", "45", "u-1"),
        dapo("Find the sum of 1 to 9.", "45", "u-2"),
        {"prompt": "Compute $3^4$.\n\nRemember to put your answer on its own line after \"Answer:\".",
         "solution": "81", "extra_info": {"index": "u-3"}},
    ],
    "toolrl": [
        {"id": "t", "system": SYSTEM, "user": USER, "output": OUTPUT},
        {"instruction": SYSTEM, "input": USER.replace("Kiel", "Bonn"), "output": ANSWERED},
        {"prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER.replace("3", "4")}],
         "reward_model": {"ground_truth": OUTPUT.replace("3", "4"), "style": "rule"}},
    ],
    "seal_tools": [
        {"id": "s", "query": SEAL, "tools": SEAL_TOOLS, "answers": SEAL_CALLS},
        {"query": SEAL.replace("3", "4"), "tools": SEAL_TOOLS,
         "answers": [SEAL_CALLS[0], {"name": "book", "arguments": {"count": 4}}]},
    ],
}  # fmt: skip


def prepared(name: str, folder, rows, write) -> list[dict]:
    file = write(folder / f"{name}.jsonl", rows) if rows else None
    out = folder / "out.jsonl"
    prepare(get_dataset(name), Options(out, file, folder, None if rows else 16), QUIET)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("name", [*LAYOUTS, "arithmetic"])
def test_prompts_pass_through_openrlhf_and_the_gold_earns_the_reward(folder, write, name):
    rows = prepared(name, folder, LAYOUTS.get(name), write)
    check_data_file(str(folder / "out.jsonl"), "input", "label")
    data = SimpleNamespace(input_key="input", label_key="label", apply_chat_template=True)
    strategy = SimpleNamespace(args=SimpleNamespace(data=data), is_rank_0=lambda: False)
    tokenizer, dataset = build_tokenizer(), get_dataset(name)
    if dataset.reward == "function_call":  # the quickstart's template takes one user message alone
        tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    loaded = load_dataset("json", data_files=str(folder / "out.jsonl"), split="train", cache_dir=str(folder))
    prompts = PromptDataset(loaded, tokenizer, strategy)
    assert len(prompts) == len(rows) >= 2
    for (datasource, prompt, label, _), row in zip(prompts, rows, strict=True):
        assert datasource == name
        asked = row["input"] if isinstance(row["input"], str) else row["input"][-1]["content"]
        assert asked in prompt
        response = gold_response(dataset.reward, label)
        scored = REWARDS[dataset.reward]([prompt + response], [prompt], [label])
        assert scored["scores"] == 1.0
        assert REWARDS[dataset.reward]([prompt + "No idea."], [prompt], [label])["scores"] == 0.0


def test_dapo_rows_lose_their_instruction_and_their_copies(folder, write):
    first, second = prepared("dapo_math", folder, LAYOUTS["dapo_math"], write)
    assert first["input"] == TEMPLATES["boxed"].replace("{question}", "Find the sum of 1 to 9.")
    assert (first["id"], second["id"], second["label"]) == ("dapo-u-1", "dapo-u-3", "81")
    assert "Answer:" not in second["input"]


def test_the_published_parquet_gives_the_same_as_json(folder, write):
    rows = LAYOUTS["dapo_math"][:2] * 50
    want = prepared("dapo_math", folder, rows, write)
    pq.write_table(pa.Table.from_pylist(rows), folder / "dapo-math-17k.parquet")
    outcome = prepare(get_dataset("dapo_math"), Options(folder / "p.jsonl", None, folder), QUIET)
    assert [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()] == want
    assert outcome.report["counts"]["same_row_again"] == 99
    (folder / "dapo-math-17k.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="is not a readable parquet file") as caught:
        prepare(get_dataset("dapo_math"), Options(folder / "p.jsonl", None, folder), QUIET)
    assert "\n" not in str(caught.value)


def test_a_json_list_is_read_and_its_rows_are_named(folder, write):
    (folder / "rlla_rl.json").write_text(json.dumps(LAYOUTS["toolrl"]))
    assert prepare(get_dataset("toolrl"), Options(folder / "o.jsonl", None, folder), QUIET).files[0].rows == 3
    (folder / "rlla_rl.json").write_text(json.dumps([LAYOUTS["toolrl"][0], {"system": "x"}]))
    with pytest.raises(UserError, match=r"rlla_rl.json: row 2: no field 'user' or 'input'"):
        prepare(get_dataset("toolrl"), Options(folder / "o.jsonl", None, folder), QUIET)


def test_toolrl_labels_hold_the_calls_and_whether_it_answers(folder, write):
    called, answered, _ = prepared("toolrl", folder, LAYOUTS["toolrl"], write)
    assert json.loads(called["label"]) == {
        "gold": [json.loads(line) for line in CALLS.splitlines()], "has_response": False,
    }  # fmt: skip
    assert json.loads(answered["label"]) == {"gold": [], "has_response": True}
    assert [message["role"] for message in called["input"]] == ["system", "user"]


def test_calls_of_tools_that_are_not_on_offer_are_refused(folder, write):
    bad = {"id": "t", "system": SYSTEM, "user": USER, "output": OUTPUT.replace('"book"', '"date\\")"')}
    with pytest.raises(UserError, match="none of the tools on offer"):
        prepared("toolrl", folder, [bad], write)
    bad = {"query": SEAL, "tools": SEAL_TOOLS, "answers": [{"name": "findBar", "arguments": {}}]}
    with pytest.raises(UserError, match="none of the tools on offer"):
        prepared("seal_tools", folder, [bad], write)


def test_seal_tools_asks_in_the_form_that_its_reward_grades(folder, write):
    row, _ = prepared("seal_tools", folder, LAYOUTS["seal_tools"], write)
    system, user = (message["content"] for message in row["input"])
    assert '1. Name: findCafe\nDescription: Finds a cafe\nParameters: {"city": {"type": "str",' in system
    assert (
        '"description": "Where", "required": true}, "kinds": {"type": "list", "required": false}}\n2. '
        in system
    )
    assert user == f"**Dialogue Records History**\n<user> {SEAL} </user>"
    gold = [{"name": one["name"], "parameters": one["arguments"]} for one in SEAL_CALLS]
    assert json.loads(row["label"]) == {"gold": gold, "has_response": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": "Book it."}, "the gold's findCafe(city='kiel') is not in the request"),
        ({"tools": []}, "field 'tools' must be a list of objects"),
        ({"answers": [{"name": "book", "arguments": [3]}]}, "field 'arguments' of a call must be an object"),
        ({"tools": [{**SEAL_TOOLS[0], "parameters": {"city": "str"}}, SEAL_TOOLS[1]]},
         "field 'parameters' of a tool must be an object of objects"),
    ],
)  # fmt: skip
def test_rows_of_seal_tools_that_cannot_be_trained_on(folder, write, change, message):
    with pytest.raises(UserError) as caught:
        prepared("seal_tools", folder, [{**LAYOUTS["seal_tools"][0], **change}], write)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reward", "label"),
    [
        ("math", ""),
        ("math", "{"),
        ("math", "..."),
        ("function_call", "no JSON"),
        ("function_call", '{"gold": [1]}'),
    ],
)
def test_golds_that_cannot_be_met(reward, label):
    assert gold_problem(reward, label)


@pytest.mark.parametrize(
    "label", ["7", "\\frac{1}{2}", "3\\text{ cm}", "[1, 2)", '["1", "-1"]', "\\text{Tuesday}"]
)
def test_golds_that_can_be_met(label):
    assert gold_problem("math", label) is None


def test_every_set_says_what_one_must_know():
    for dataset in all_datasets().values():
        assert (REWARD_FILES / f"{dataset.reward}.py").is_file()
        assert dataset.license
        assert (dataset.convert is None) == (dataset.make is not None)
