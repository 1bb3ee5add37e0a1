"""The held-out problems: several responses to each, and what is kept of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.algorithm.reference import ReferenceConfig
from dipo_openrlhf.algorithm.sampling import sample
from dipo_openrlhf.compare.tasks import Problem, Task

BATCH = 512  # responses that are sampled at once


@dataclass(frozen=True)
class Scores:
    """Of each held-out problem, in their order: the correct ones of its samples, the distinct answers ("" for none), and
    whether the most frequent answer is correct.

    entropy: nats a token. ppl_correct, ppl_error: geometric mean perplexity, None without such a response. kinds: share
    of correct responses of each kind.
    """

    correct: list[int]
    distinct: list[int]
    majority: list[bool]
    samples: int
    tokens: int
    entropy: float
    ppl_correct: float | None
    ppl_error: float | None
    kinds: dict[str, float]

    @property
    def accuracy(self) -> float:
        """Share of correct responses."""
        return sum(self.correct) / (self.samples * len(self.correct))


@torch.no_grad()
def evaluate(
    model: Any, tokenizer: Any, task: Task, problems: Sequence[Problem], settings: dict[str, Any], seed: int
) -> Scores:
    """Sample and grade. The same seed draws a response from the same random numbers whatever the method."""
    samples = int(settings["samples"])
    config = ReferenceConfig(
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        max_new_tokens=task.max_new_tokens,
        temperature=settings["temperature"],
    )
    rows = [
        (problem, prompt) for problem, prompt in zip(problems, _prompts(tokenizer, problems), strict=True)
    ]
    rows = [row for row in rows for _ in range(samples)]
    verdicts: list[bool] = []
    answers: list[str] = []
    log_ppl, entropies, tokens = [], 0.0, 0
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        # anew for each part: where the numbers of the last one end depends on the lengths of its responses
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + start)
        found = sample(model, [row[1] for row in part], config, generator)
        action_mask_BA = found.action_mask_BA
        log_ppl.append(sequence_log_ppl(found.log_probs_BA, action_mask_BA))
        entropies += float(found.entropy_BA[action_mask_BA].sum())
        tokens += int(action_mask_BA.sum())
        responses_BA = found.tokens_BT[:, -action_mask_BA.shape[1] :]
        for (problem, _), row, mask in zip(part, responses_BA, action_mask_BA, strict=True):
            verdict = task.grade(tokenizer.decode(row[mask], skip_special_tokens=True), problem.label)
            verdicts.append(verdict.score == 1)
            answers.append(verdict.extracted or "")
    log_ppl_B, correct_B = torch.cat(log_ppl), torch.tensor(verdicts)
    groups = [slice(i * samples, (i + 1) * samples) for i in range(len(problems))]
    kinds: dict[str, list[int]] = {}
    for problem, group in zip(problems, groups, strict=True):
        kinds.setdefault(problem.kind, []).extend(verdicts[group])
    return Scores(
        [sum(verdicts[group]) for group in groups],
        [len(set(answers[group])) for group in groups],
        [_majority(answers[group], verdicts[group]) for group in groups],
        samples,
        tokens,
        entropies / max(tokens, 1),
        _mean_ppl(log_ppl_B[correct_B]),
        _mean_ppl(log_ppl_B[~correct_B]),
        {kind: sum(found) / len(found) for kind, found in sorted(kinds.items())},
    )


def _prompts(tokenizer: Any, problems: Sequence[Problem]) -> list[list[int]]:
    return [
        tokenizer.apply_chat_template(list(one.messages), add_generation_prompt=True, return_dict=False)
        for one in problems
    ]


def _majority(answers: Sequence[str], verdicts: Sequence[bool]) -> bool:
    """Whether the most frequent answer is correct; of equals the first."""
    most = Counter(answers).most_common(1)[0][0]
    return verdicts[answers.index(most)]


def _mean_ppl(log_ppl_N: torch.Tensor) -> float | None:
    known_N = log_ppl_N[~torch.isnan(log_ppl_N)]
    return float(known_N.mean().exp()) if len(known_N) else None
