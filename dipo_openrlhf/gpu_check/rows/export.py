"""The export loads in vLLM, whose greedy tokens are those that transformers chooses after the same tokens.

Token by token, each after vLLM's own tokens before it: two runs on their own differ in everything behind the first near
tie, which rounding decides (docs/gpu_check.md has figures). A token that is a tie for transformers counts as equal.
"""

from __future__ import annotations

import json

import torch

from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError
from dipo_openrlhf.gpu_check.greedy import greedy_file
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.settings import STEPS

NAME = "export in vLLM"
LIMIT = 0.95
TIE = 0.25  # nats that transformers may prefer another token by: several times bf16's rounding of a log-probability
SHOWN = f"loads; >= {LIMIT:.0%} of greedy tokens are transformers'"


def check(evidence: Evidence) -> Row:
    path = greedy_file(evidence.settings)
    if not path.is_file():
        raise MissingEvidenceError(f"vLLM did not answer with the export of step {STEPS}")
    rows = json.loads(path.read_text(encoding="utf-8"))
    model, same, ties, total = evidence.model(STEPS), 0, 0, 0
    with torch.no_grad():
        for row in rows:
            tokens = torch.tensor([row["prompt"] + row["answer"]])
            logits = model(input_ids=tokens).logits[0, len(row["prompt"]) - 1 : -1]
            answer = tokens[0, len(row["prompt"]) :, None]
            behind = logits.max(-1).values - logits.gather(-1, answer).squeeze(-1)
            same += int((behind == 0).sum())
            ties += int(((behind > 0) & (behind < TIE)).sum())
            total += len(row["answer"])
    share = (same + ties) / total if total else 0.0
    meaning = (
        ""
        if share >= LIMIT
        else (
            "vLLM computes something else from the exported files than transformers does: evaluations of this machine's "
            "checkpoints would measure another model; compare vLLM's attention backend and the export's config.json"
        )
    )
    return Row(
        NAME,
        not meaning,
        f"loads; {same} same and {ties} ties of {total} tokens",
        SHOWN,
        meaning,
        {"same": same, "ties": ties, "tokens": total},
    )
