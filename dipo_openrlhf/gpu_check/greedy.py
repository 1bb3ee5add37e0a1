"""The last export in vLLM, as the evaluation loads it: greedy answers to the check's prompts, as token ids."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from dipo_eval.engines.device import has_gpu, resolve_dtype, set_engine_env
from dipo_openrlhf.gpu_check.evidence import Evidence
from dipo_openrlhf.gpu_check.settings import STEPS, CheckSettings

TOKENS = 64


def greedy_file(settings: CheckSettings) -> Path:
    """A list of {"prompt": token ids, "answer": token ids}."""
    return settings.root / "greedy.json"


def write_greedy(settings: CheckSettings) -> None:
    evidence = Evidence(settings)
    folder = evidence.export(STEPS)
    set_engine_env(folder)
    from transformers import AutoTokenizer
    from vllm import LLM, SamplingParams

    prompts = prompt_ids(evidence, AutoTokenizer.from_pretrained(folder))
    llm = LLM(
        model=str(folder),
        max_model_len=evidence.recipe.get("data.max_len"),
        dtype=resolve_dtype(folder, "vllm", "auto"),  # type: ignore[arg-type]
        enforce_eager=not has_gpu(),
        gpu_memory_utilization=0.5,
        disable_log_stats=True,
    )
    sampling = SamplingParams(temperature=0.0, max_tokens=min(TOKENS, settings.tokens))
    requests: Any = [{"prompt_token_ids": ids} for ids in prompts]
    outputs = llm.generate(requests, sampling, use_tqdm=False)
    answers = [list(output.outputs[0].token_ids) for output in outputs]
    rows = [{"prompt": p, "answer": a} for p, a in zip(prompts, answers, strict=True)]
    greedy_file(settings).write_text(json.dumps(rows) + "\n", encoding="utf-8")


def prompt_ids(evidence: Evidence, tokenizer: Any) -> list[list[int]]:
    """The first step's prompts as the engine gets them."""
    with open(evidence.recipe.get("data.prompt_dataset"), encoding="utf-8") as file:
        contents = [json.loads(line)["input"] for line in islice(file, evidence.settings.prompts)]
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": one}] if isinstance(one, str) else one,
            tokenize=False,
            add_generation_prompt=True,
        )
        for one in contents
    ]
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
