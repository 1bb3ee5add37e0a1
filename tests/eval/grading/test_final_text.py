"""Thoughts come off in one place, for answers, programs and calls."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_calls, grade_math
from dipo_eval.grading.code.extract import extract_code
from dipo_eval.grading.final_text import final_text

OPENED = {
    "<think>": "</think>", "<thinking>": "</thinking>", "<reasoning>": "</reasoning>", "[THINK]": "[/THINK]",
    "\u25c1think\u25b7": "\u25c1/think\u25b7", "<|begin_of_thought|>": "<|end_of_thought|>",
    "<unused94>": "<unused95>", "<start_working_out>": "<end_working_out>",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}  # fmt: skip


@pytest.mark.parametrize("mark", OPENED)
def test_a_thought_is_taken_off_and_an_unfinished_one_is_no_answer(mark: str) -> None:
    assert final_text(f"{mark}draft{OPENED[mark]}answer").strip() == "answer"
    assert final_text(f"{mark}draft") == ""
    function = {"name": "f", "parameters": {"type": "dict", "properties": {}, "required": []}}
    for thought, status in ((mark, "wrong"), (f"{mark}hm{OPENED[mark]}", "correct")):
        assert grade_math(rf"{thought}\boxed{{5}}", "5").status == status
        assert (
            grade_calls(f"{thought}[f()]", [{"f": {}}], [function], category="simple_python").status == status
        )
        assert (extract_code(f"{thought}\ndef f(): pass\n", "f") is not None) is (status == "correct")
    assert (
        grade_calls(f"{mark}which one?", [], [function], category="irrelevance").reason
        == "an unfinished thought"
    )


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("so it is 4.</think>5", "5"),
        ("5 <think>4", "5 "),
        ("<think>a <think>b</think> c</think>5", "5"),
        ("<THINK>4</Think>5", "5"),
        ("analysisWe count.assistantfinal5", "5"),
        ("analysis of it: 5", "analysis of it: 5"),
        ("5<|im_end|>\n<|endoftext|>", "5"),
        ("[5]", "[5]"),
        ("", ""),
    ],
)
def test_the_part_that_answers(response: str, text: str) -> None:
    assert final_text(response) == text
