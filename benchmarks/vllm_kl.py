"""How large vllm_kl is from rounding alone, and how large once the engine has missed updates. On CPU.

    python benchmarks/vllm_kl.py --dtype bf16 [--prompts 24] [--tokens 64] [--out FILE.json]

SmolLM2-135M answers arithmetic in vLLM at temperature 1; transformers scores the same tokens with the same weights, both
in the type. Then the scored model is moved as N steps of Adam with a learning rate of 1e-6 in one direction move it:
every weight by N * 1e-6 along the sign of the gradient of a third of the samples' likelihood; the others are scored. Real
updates turn, and move less.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from common import command, header, row, save

from dipo_eval.engines.device import PROCESS_DEFAULTS, VLLM_ON_CPU

os.environ |= {**PROCESS_DEFAULTS, **VLLM_ON_CPU, "VLLM_CPU_KVCACHE_SPACE": "1"}

import torch

NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
RATE = 1e-6
MISSED = (1, 10, 100)  # updates


def sample(
    model: Path, dtype: str, prompts: list[str], tokens: int
) -> list[tuple[list[int], list[int], torch.Tensor]]:
    """(prompt, response, log-probabilities) of each prompt, from vLLM with the changes of a CPU run."""
    os.environ["DIPO_CPU"] = "1"
    from vllm import LLM, SamplingParams

    llm = LLM(
        str(model), dtype=NAMES[dtype], enforce_eager=True, max_model_len=512, logprobs_mode="processed_logprobs",
        enable_chunked_prefill=False, seed=1,
    )  # fmt: skip
    found = []
    for output in llm.generate(prompts, SamplingParams(temperature=1.0, max_tokens=tokens, logprobs=1)):
        answer = output.outputs[0]
        values = [
            candidates[token].logprob
            for token, candidates in zip(answer.token_ids, answer.logprobs, strict=True)
        ]
        found.append((list(output.prompt_token_ids), list(answer.token_ids), torch.tensor(values)))
    return found


def score(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0]


@torch.no_grad()
def divergence(model: Any, samples: list[Any]) -> tuple[float, float]:
    """(vllm_kl, mean absolute difference), nats a token."""
    gaps = torch.cat([values - score(model, prompt, response) for prompt, response, values in samples])
    return gaps.mean().item(), gaps.abs().mean().item()


def main(dtype: str = "bf16", prompts: int = 24, tokens: int = 64, out: Path | None = None) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dipo_openrlhf.quickstart.smollm2 import smollm2_model
    from dipo_openrlhf.record.user_cache import cache_dir

    folder = smollm2_model(cache_dir())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": f"What is {a} + {7 * a % 10}? Explain."}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for a in range(1, prompts + 1)
    ]
    samples = sample(folder, dtype, asked, tokens)
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    third = len(samples) // 3
    for prompt, response, _ in samples[:third]:
        score(exact, prompt, response).sum().backward()
    figures = {}
    header("updates missed", "vllm_kl", "mean absolute difference")
    for missed in (0, *MISSED):
        moved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            for weight, source in zip(moved.parameters(), exact.parameters(), strict=True):
                weight += missed * RATE * source.grad.sign()
        figures[missed] = divergence(moved.to(getattr(torch, NAMES[dtype])).eval(), samples[third:])
        row([missed, *(f"{value:.2g}" for value in figures[missed])])
    save(
        out, {"dtype": dtype, "tokens": sum(len(response) for _, response, _ in samples), "figures": figures}
    )


if __name__ == "__main__":
    command(main, __doc__)
