r"""GSM8K's training split: 7,473 grade-school word problems (Cobbe et al. 2021, arXiv 2110.14168).

Row of gsm8k_train.jsonl:
    {"id": "gsm8k-train-0", "question": "Natalia sold clips to 48 of her friends in April, ...", "answer": "72"}
Row of the published parquet and JSON lines: the same question, the answer with its solution:
    {"question": "Natalia sold clips ...", "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips ...\n#### 72"}
"""

from __future__ import annotations

from dipo_eval.suites.data_file import Record
from dipo_eval.suites.hub import HubData, final_answer
from dipo_openrlhf.data.base import Dataset, Prompt, hub_row, math_prompt, text_of


def convert(record: Record) -> Prompt:
    """The prompt of a row in either form. Raises UserError."""
    answer = text_of(record, "answer")
    if "####" in answer:
        answer = final_answer(answer)
    return math_prompt(record, "gsm8k", text_of(record, "question"), answer)


DATASET = Dataset(
    name="gsm8k",
    source="https://github.com/openai/grade-school-math (train split)",
    license="MIT",
    reward="math",
    rows="7,473",
    fields="question, answer (the final answer, or a solution that ends in #### and it)",
    convert=convert,
    files=("gsm8k_train.jsonl",),
    published={"gsm8k_train.jsonl": "3e190a78ba77d30361bebd272f78bb0992f76c5dae3dde9eac2758641481604d"},
    hub=HubData("openai/gsm8k", "train", hub_row, 7473, "main"),
)
