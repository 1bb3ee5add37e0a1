r"""Whether a gold can be trained on: given back as an answer, the reward must call it right. Not a data set."""

from __future__ import annotations

import json

from dipo_eval.errors import UserError
from dipo_eval.grading import check_gold, grade_math
from dipo_openrlhf.data.base import Reward
from dipo_openrlhf.rewards import function_call, math

PROMPT = "The question stands here."


def gold_response(reward: Reward, label: str) -> str:
    """A response that says exactly what the label asks for, in the form that its reward reads."""
    if reward == "math":
        gold = math.gold_of(label)
        answer = gold if isinstance(gold, str) else ", ".join(gold)
        return f"The answer is \\boxed{{{answer}}}."
    found = function_call.label_of(label)
    parts = ["<think> The calls stand below. </think>"]
    if found["gold"]:
        calls = "\n".join(json.dumps(call, ensure_ascii=False) for call in found["gold"])
        parts.append(f"<tool_call>\n{calls}\n</tool_call>")
    if found.get("has_response", not found["gold"]):
        parts.append("<response> It is done. </response>")
    return "\n".join(parts)


def gold_problem(reward: Reward, label: str) -> str | None:
    """Why a label cannot be trained on, or None: the reward is asked as OpenRLHF asks it."""
    if reward == "math":
        try:
            check_gold(math.gold_of(label))
        except (UserError, ValueError) as error:
            return str(error)
    function = math.reward_func if reward == "math" else function_call.reward_func
    try:
        response = gold_response(reward, label)
    except ValueError as error:
        return str(error)
    scored = function([PROMPT + response], [PROMPT], [label])
    if scored["scores"] == 1.0:
        return None
    return f"the gold {label!r:.80} is not graded as right when it is given back as the answer"


def same_gold(reward: Reward, one: str, other: str) -> bool:
    """Whether two labels of one question ask for the same answer."""
    if one == other:
        return True
    if reward == "math":
        return grade_math(gold_response(reward, other), math.gold_of(one)).status == "correct"
    return bool(json.loads(one) == json.loads(other))
