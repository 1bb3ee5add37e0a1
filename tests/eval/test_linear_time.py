"""No text that a model can write holds a grader: every reader of responses is linear, on 1 MB of each pumped text."""

from __future__ import annotations

import ast
import gc
import json
import random
import re
import runpy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import dipo_eval
import dipo_openrlhf.rewards.function_call as function_call_reward
import dipo_openrlhf.rewards.math as math_reward
from dipo_eval import linear
from dipo_eval.board.embed import safe_json
from dipo_eval.board.page.samples import cut
from dipo_eval.grading import grade_calls, grade_math
from dipo_eval.grading.calls.grade import calls_of
from dipo_eval.grading.calls.messages import native_calls, step_calls
from dipo_eval.grading.calls.multi_turn import grade_conversation
from dipo_eval.grading.calls.official_literals import MAX_CHARS as MAX_CONVERTED
from dipo_eval.grading.calls.official_literals import convert_java, convert_javascript
from dipo_eval.grading.calls.response_text import MAX_CHARS as MAX_CALLS
from dipo_eval.grading.calls.response_text import answer_text
from dipo_eval.grading.calls.strict import same_text
from dipo_eval.grading.calls.strict_literals import MAX_CHARS as MAX_LITERAL
from dipo_eval.grading.calls.strict_literals import read_literal
from dipo_eval.grading.calls.unread import UnreadableError
from dipo_eval.grading.code.extract import extract_code
from dipo_eval.grading.math.compare_parts import compare_answers
from dipo_eval.grading.math.extract import extract_answer
from dipo_eval.grading.math.normalize import MAX_ANSWER_CHARS
from dipo_eval.grading.pool import GradingPool
from dipo_eval.printable import visible
from dipo_eval.runner.metrics import metrics_from_samples
from dipo_eval.suites.base import Item
from dipo_eval.suites.user import grade_exact
from dipo_openrlhf.rewards.responses import response_of
from dipo_openrlhf.rewards.toolrl import format_score, tagged_calls

PUMPED = runpy.run_path(str(Path(__file__).with_name("pumped.py")))
SIZE, TEXTS, text_of = PUMPED["SIZE"], PUMPED["pumped"](), PUMPED["text_of"]
BY_HAND, GENERATED = TEXTS[: len(PUMPED["BY_HAND"])], TEXTS[len(PUMPED["BY_HAND"]) :]
QUICK_SIZE, PARTS = SIZE // 8, 7
"""Each reader gets one in so many of the generated texts, an eighth as long; the slow test gives it all, whole."""
LINEAR = {place: one for place, one in PUMPED["patterns"]().items() if isinstance(one, linear.LinearPattern)}
FUNCTIONS = [
    {"name": "f", "parameters": {"type": "dict", "properties": {"x": {"type": "string"}}, "required": ["x"]}}
]
GOLD = [{"f": {"x": ["a"]}}]
ITEM = Item("1", [{"role": "user", "content": "?"}], "5")
CASE = {"id": "multi_turn_base_0", "initial_config": {}, "involved_classes": ["MathAPI"]}
TAGGED = json.dumps({"gold": [{"name": "f", "parameters": {"x": 1}}]})
BY_CATEGORY = json.dumps({"gold": GOLD, "functions": FUNCTIONS, "category": "simple_python"})
CLOSED = GradingPool(1)
CLOSED.close()  # what the fast rules leave open is undecided here: the worker's time is limited by itself

DEADLINE_S = 3.0
"""For a text of any size that a reader takes; on an idle core the slowest takes 0.7."""
MOMENT_S = 0.1
"""What takes no longer needs no second look: fixed costs and the clock would decide."""

Read = Callable[[str], Any]


def _grade_calls(category: str, mode: Any) -> Read:
    gold = [] if "relevance" in category else GOLD
    return lambda text: grade_calls(text, gold, FUNCTIONS, category=category, mode=mode)


def _vote(text: str) -> Any:
    return metrics_from_samples(
        [{"item_id": "1", "sample": i, "status": "wrong", "extracted": text, "gold": "5"} for i in (0, 1)]
    )


RESPONSES: dict[str, Read] = {
    "extract_answer": extract_answer,
    "grade_math": lambda text: grade_math(text, "5", pool=CLOSED),
    "grade_exact": lambda text: grade_exact(text, ITEM),
    "extract_code": lambda text: extract_code(text, "f", "def f(x):\n"),
    "answer_text": answer_text,
    "calls_of": lambda text: calls_of(text, "simple_python"),
    "step_calls": lambda text: step_calls(text, official=False),
    "step_calls, official": lambda text: step_calls(text, official=True),
    "native_calls": native_calls,
    "grade_conversation": lambda text: grade_conversation(text, [[]], CASE),
    "math reward": lambda text: math_reward.reward_func([f"?{text}"], ["?"], ["x"]),
    "function_call reward": lambda text: function_call_reward.reward_func([f"?{text}"], ["?"], [TAGGED]),
    "function_call reward, BFCL": lambda text: function_call_reward.reward_func(
        [f"?{text}"], ["?"], [BY_CATEGORY]
    ),
    "response_of": lambda text: response_of(f"prompt{text}", "prompt"),
    "format_score": lambda text: format_score(text, has_calls=True, has_response=True),
    "tagged_calls": lambda text: _or_none(tagged_calls, text),
    "visible": visible,
    "board's cut": lambda text: cut(text, 20_000),
    "board's JSON": lambda text: safe_json({"response": cut(text, 20_000)}),
    "majority vote": _vote,
    **{
        f"grade_calls, {category}, {mode}": _grade_calls(category, mode)
        for category in ("simple_python", "simple_java", "simple_javascript", "irrelevance", "live_relevance")
        for mode in ("strict", "compatible")
    },
}
GOLDS = (
    "5",
    r"\frac{1}{2}",
    "(1,2)",
    "x<5",
    r"\sqrt{2}+1",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
    "1,2,3",
    "x=2",
)
MORE_GOLDS = (
    r"\text{red}",
    "C",
    r"5\text{ cm}",
    "1010_2",
    r"(1,2)\cup(3,4)",
    r"\{1,2\}",
    r"\log_{10}5",
    "0.3333333",
)
CAPPED: dict[str, tuple[int, Read]] = {
    **{f"grade_math, {gold}": (MAX_ANSWER_CHARS, lambda text, gold=gold: compare_answers(text, gold))
       for gold in (*GOLDS, *MORE_GOLDS)},
    **{f"{name} of calls": (MAX_CALLS, RESPONSES[name])
       for name in ("calls_of", "step_calls", "step_calls, official", "native_calls", "function_call reward, BFCL",
                    "grade_calls, simple_python, strict", "grade_calls, irrelevance, strict")},
    "same_text": (MAX_CALLS, lambda text: same_text(text, f"{text}x")),
    "read_literal, Java": (MAX_LITERAL, lambda text: read_literal(text, is_java=True)),
    "read_literal, JavaScript": (MAX_LITERAL, lambda text: read_literal(f"[{text[1:]}", is_java=False)),
    **{f"convert_java, {kind}": (MAX_CONVERTED, lambda text, kind=kind: _or_none(convert_java, text, kind, "String"))
       for kind in ("Array", "ArrayList", "HashMap", "double", "long")},
    **{f"convert_javascript, {kind}": (
        MAX_CONVERTED, lambda text, kind=kind: _or_none(convert_javascript, "{" + text[2:] + "}", kind))
       for kind in ("array", "dict", "float")},
}  # fmt: skip
"""What is read of a response in the end, with the most characters of it that are looked at."""


def _or_none(read: Callable[..., Any], *given: Any) -> Any:
    try:
        return read(*given)
    except (ValueError, NotImplementedError, UnreadableError):
        return None


def _cost(read: Read, text: str, tries: int = 1) -> float:
    """Processor seconds, the least of some tries, without Python's rounds through all that the tests hold."""
    spent = []
    gc.disable()
    try:
        for _ in range(tries):
            started = time.process_time()
            read(text)
            spent.append(time.process_time() - started)
    finally:
        gc.enable()
    return min(spent)


def _too_slow(read: Read, size: int, texts: Sequence[tuple[str, str, str]]) -> list[str]:
    """The texts that cost more than a moment and grow faster than they are long, or exceed the deadline."""
    slow = []
    for parts in texts:
        whole = text_of(parts, size)
        cost = _cost(read, whole)
        if cost <= MOMENT_S:
            continue
        cost = _cost(read, whole, tries=3)
        quarter = _cost(read, text_of(parts, size // 4), tries=3)
        if cost > DEADLINE_S or cost > 4 * 2 * quarter + MOMENT_S:
            slow.append(f"{tuple(part[:30] for part in parts)}: {quarter:.2f} s, then {cost:.2f} s")
    return slow


def test_there_are_more_than_four_hundred_pumped_strings():
    assert len(TEXTS) > 400
    assert len(LINEAR) > 50


@pytest.mark.parametrize("name", RESPONSES)
def test_a_reader_of_responses_is_linear(name: str):
    part = list(RESPONSES).index(name) % PARTS
    assert _too_slow(RESPONSES[name], QUICK_SIZE, [*BY_HAND, *GENERATED[part::PARTS]]) == []


@pytest.mark.parametrize("name", CAPPED)
def test_a_reader_is_linear_up_to_its_limit(name: str):
    size, read = CAPPED[name]
    part = list(CAPPED).index(name) % PARTS
    assert _too_slow(read, size, [*BY_HAND, *GENERATED[part::PARTS]]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RESPONSES, *CAPPED])
def test_a_reader_is_linear_on_every_text(name: str):
    size, read = CAPPED[name] if name in CAPPED else (SIZE, RESPONSES[name])
    assert _too_slow(read, size, TEXTS) == []


def test_an_answer_and_twenty_thousand_blanks_take_no_time():
    text = "The answer is 5" + " " * 20_000
    assert grade_math(text, "5").status == "correct"
    assert _cost(lambda one: grade_math(one, "5"), text) < 0.5


def test_a_fence_line_of_twenty_thousand_characters_takes_no_time():
    text = "```" + "a" * 20_000 + "`\n```python\ndef f(x):\n    return x\n```"
    assert extract_code(text, "f") == "def f(x):\n    return x\n"
    assert _cost(lambda one: extract_code(one, "f"), "```" + "a" * 399_000 + "`") < 1.0


@pytest.mark.parametrize("place", LINEAR)
def test_both_engines_find_the_same(place: str):
    pattern = LINEAR[place]
    own = re.compile(pattern.pattern, pattern.flags)
    rng = random.Random(place)
    for text in _near_matches(pattern.pattern, rng):
        # RE2's Python gives an empty match at the end twice.
        found = dict.fromkeys(one.span() for one in pattern.long().finditer(text))
        assert list(found) == [one.span() for one in own.finditer(text)], text
        mine, theirs = pattern.long().match(text), own.match(text)
        assert (mine and mine.groups()) == (theirs and theirs.groups()), text


def _near_matches(pattern: str, rng: random.Random) -> list[str]:
    """Texts of the pieces that the pattern is about, and of what Unicode has more of than ASCII."""
    parts = [
        text[:40]
        for once, again, end in TEXTS
        if (text := once + again + end) and again.strip()[:3] in pattern
    ]
    pieces = [
        *parts,
        *re.findall(r"[A-Za-z]+|\W", pattern),
        *" 123aB\n\t",
        "\u3000",
        "\xa0",
        "\u0663",
        "é",
        "中",
        "\x1c",
    ]
    return ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 12))) for _ in range(200)]


@pytest.mark.parametrize("place", LINEAR)
def test_pythons_engine_takes_no_time_where_it_is_used(place: str):
    for parts in [*BY_HAND, *GENERATED[list(LINEAR).index(place) % PARTS :: PARTS]]:
        text = text_of(parts, linear.SHORT_CHARS)
        # what begins with anything is only ever asked to match from the beginning
        read = LINEAR[place].match if LINEAR[place].pattern.startswith("(.*") else LINEAR[place].search
        cost = _cost(read, text)
        assert cost < 0.1 or _cost(read, text, tries=3) < 0.1, parts


@pytest.mark.parametrize("pattern", ["a*", "a+?", "[a]{2,}", r"(?:a\+)+", r"\s+"])
def test_a_bounded_pattern_repeats_nothing_without_end(pattern: str):
    with pytest.raises(ValueError, match="without end"):
        linear.bounded(pattern)


@pytest.mark.parametrize("pattern", [r"[*+]\+\*{2,3}(?!x)", r"(?<!a)b{0,9}\b"])
def test_a_bounded_pattern_may_look_around(pattern: str):
    assert linear.bounded(pattern).pattern == pattern


def test_halves_of_characters_are_read():
    pattern = linear.compile(r"a+")
    assert pattern.sub("b", "\ud800" + "a" * 300) == "\ufffdb"


# Modules that use Python's own expressions and never see what a model wrote.
_NO_MODEL_TEXT = {
    "dipo_eval/board/table/export.py": "names and numbers of a table",
    "dipo_eval/subject/checkpoints.py": "names of folders",
    "dipo_eval/export/every_eval_ever.py": "names of models, our own intervals",
    "dipo_eval/export/lm_eval.py": "names of models",
    "dipo_eval/results/store.py": "names of models",
    "dipo_eval/subject/marker.py": "names of folders",
    "dipo_eval/secrets/file.py": "names of variables",
    "dipo_eval/secrets/names.py": "names of variables and keys",
    "dipo_eval/secrets/urls.py": "messages and settings; every repetition is bounded",
    "dipo_eval/secrets/values.py": "values of variables; every repetition is bounded",
    "dipo_openrlhf/launchers/upload/content.py": "a user's files, looked through in parts",
    "dipo_openrlhf/launchers/upload/names.py": "names of files",
    "dipo_openrlhf/data/toolrl.py": "a published data set",
    "dipo_openrlhf/data/word_ngrams.py": "training prompts and benchmarks",
    "dipo_openrlhf/estimate/machine.py": "what a driver and the kernel say of themselves",
    "dipo_openrlhf/launchers/pod_size.py": "a user's options",
    "dipo_openrlhf/launchers/targets/kuberay.py": "names of runs",
    "dipo_openrlhf/launchers/targets/slurm.py": "names of runs, a user's options",
    "dipo_openrlhf/openrlhf_patch/failures.py": "messages of Ray and torch",
    "dipo_eval/files/yaml_file.py": "a user's YAML",
    "dipo_openrlhf/recipe/openrlhf_args.py": "a user's paths",
    "dipo_openrlhf/recipe/file_names.py": "a user's paths",
    "dipo_openrlhf/compare/report/figures.py": "the board's own style sheet",
    "dipo_openrlhf/openrlhf_patch/cpu/forked_worker.py": "values of variables, as Ray reads them",
}
_HARMLESS = {"ASCII", "DOTALL", "IGNORECASE", "MULTILINE", "VERBOSE", "Pattern", "Match", "escape"}
_HOMES = {"dipo_eval/linear.py"}


def _modules() -> dict[str, Path]:
    root = Path(dipo_eval.__file__).parents[2]
    folders = {"dipo_eval": root / "eval" / "dipo_eval", "dipo_openrlhf": root / "dipo_openrlhf"}
    return {
        f"{name}/{path.relative_to(folder)}": path
        for name, folder in folders.items()
        for path in folder.rglob("*.py")
    }


def test_no_expression_of_pythons_own_runs_on_text_of_a_model():
    modules = _modules()
    users = {name for name, path in modules.items() if _uses_re(ast.parse(path.read_text(encoding="utf-8")))}
    assert users - _HOMES - _NO_MODEL_TEXT.keys() == set(), "use dipo_eval.linear there"
    assert _NO_MODEL_TEXT.keys() - users == set(), "no longer needed here"


def _uses_re(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("re", "regex", "re2"):
            return True
        if isinstance(node, ast.Import) and any(one.name in ("regex", "re2") or one.asname for one in node.names
                                                if one.name in ("re", "regex", "re2")):  # fmt: skip
            return True
        named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"
        if named and node.attr not in _HARMLESS:
            return True
    return False
