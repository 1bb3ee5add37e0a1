"""A reward of one short file, named by reward.remote_url: the share of the gold answer's digits that a response has."""

from typing import Any

import torch


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **unused: Any) -> dict[str, Any]:
    scores = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        response = query[len(prompt) :]
        scores.append(sum(digit in response for digit in label) / len(label))
    values = torch.tensor(scores)
    return {"rewards": values, "scores": values, "extra_logs": {"my_reward": values}}
