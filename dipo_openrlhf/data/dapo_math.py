r"""DAPO-Math-17k: competition problems with integer answers (Yu et al. 2025, DAPO, arXiv 2503.14476).

Row of BytedTsinghua-SIA/DAPO-Math-17k (data/dapo-math-17k.parquet):
    {"data_source": "math_dapo", "prompt": [{"content": "Solve the following math problem step by step. ...",
     "role": "user"}], "ability": "MATH", "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
     "extra_info": {"index": "9a9b6eb4-..."}}
That file has 1.79 million rows: every problem about a hundred times, by accident
(https://github.com/BytedTsinghua-SIA/DAPO/issues/36). open-r1/DAPO-Math-17k-Processed, the hub's copy that is read
here, has each prompt once, as {"prompt": "...", "solution": "34", "extra_info": ...}.
The instruction that the published prompt puts around the problem is taken off, so that problems can be compared and
prompted as the suites do; `--prompt dapo` restores it.
"""

from __future__ import annotations

from dipo_eval.errors import UserError, short_repr
from dipo_eval.suites.data_file import Record
from dipo_eval.suites.hub import HubData
from dipo_openrlhf.data.base import Dataset, Prompt, hub_row, math_prompt, text_of

_BEFORE = "Solve the following math problem step by step."
_AFTER = "Remember to put your answer on its own line after"


def _convert(record: Record) -> Prompt:
    question = _bare(_asked(record))
    index = (record.get("extra_info") or {}).get("index") if "id" not in record else None
    identity = {"id": f"dapo-{index}"} if index not in (None, "") else record
    return math_prompt(identity, "dapo", question, _answer(record))


def _asked(record: Record) -> str:
    prompt = record.get("prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], dict):
            raise UserError(f"field 'prompt' must be a string or one message, got {short_repr(prompt)}")
        return text_of(prompt[0], "content")
    return text_of(record, "prompt", "question", "problem")


def _answer(record: Record) -> str:
    graded = record.get("reward_model")
    if isinstance(graded, dict) and graded.get("ground_truth") is not None:
        return text_of(graded, "ground_truth")
    return text_of(record, "answer", "solution")


def _bare(text: str) -> str:
    """The problem without DAPO's instruction before and after it."""
    if text.startswith(_BEFORE):
        text = text.partition("\n\n")[2] or text
    body, found, _ = text.rpartition(_AFTER)
    return (body if found else text).strip()


DATASET = Dataset(
    name="dapo_math",
    source="https://huggingface.co/datasets/BytedTsinghua-SIA/DAPO-Math-17k",
    license="Apache-2.0",
    reward="math",
    rows="17,398",
    fields="prompt (a string or one message) and reward_model.ground_truth; or question and answer",
    convert=_convert,
    files=("dapo-math-17k.parquet", "dapo_math_17k.jsonl"),
    hub=HubData("open-r1/DAPO-Math-17k-Processed", "train", hub_row, 17398, "all"),
)
