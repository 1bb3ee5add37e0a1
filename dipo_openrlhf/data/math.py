r"""MATH's training split: 7,500 competition problems in LaTeX (Hendrycks et al. 2021, arXiv 2103.03874).

Row of math_rl_train.jsonl, 3,999 of them stratified by level:
    {"id": "math-train-3195", "question": "Arc $AC$ is a quarter-circle ...", "answer": "3\\text{ cm}", "level": 5,
     "subject": "Geometry"}
Row of the published parquet:
    {"problem": "...", "level": "Level 5", "type": "Geometry", "solution": "... is $\\boxed{3\\text{ cm}}$."}
"""

from __future__ import annotations

from dipo_eval.grading.math.extract import extract_answer
from dipo_eval.suites.data_file import Record
from dipo_eval.suites.hub import HubData
from dipo_openrlhf.data.base import Dataset, Prompt, UnsoundRowError, hub_row, math_prompt, text_of


def _convert(record: Record) -> Prompt:
    question = text_of(record, "question", "problem")
    if record.get("answer") is not None:
        return math_prompt(record, "math", question, text_of(record, "answer"))
    found = extract_answer(text_of(record, "answer", "solution"))
    if found.text is None or found.how != "boxed":
        raise UnsoundRowError("field 'solution' has no \\boxed{} answer")
    return math_prompt(record, "math", question, found.text)


DATASET = Dataset(
    name="math",
    source="https://github.com/hendrycks/math (train split)",
    license="MIT",
    reward="math",
    rows="7,500",
    fields="question or problem; answer, or a solution with \\boxed{}",
    convert=_convert,
    files=("math_train.jsonl", "math_rl_train.jsonl"),
    published={"math_rl_train.jsonl": "69706aa40266bac8fd37546db0569912db6cc8c9284885a2622ccc9775d5e466"},
    hub=HubData("DigitalLearningGmbH/MATH-lighteval", "train", hub_row, 7500),
)
