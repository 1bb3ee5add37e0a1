"""Run a module as its users run it, with vLLM's calls timed. Called by benchmarks/evaluation.py, not by hand.

    python benchmarks/evaluation_llm.py REPORT MAX_TOKENS MODULE [ARGUMENTS OF THE MODULE]

REPORT: JSON with the seconds of `LLM()` and of all `LLM.generate`, the prompts, and tokens in and out. MAX_TOKENS limits
each request: evalplus 0.3.1 has no option for its 768 (DecoderBase).
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any


def watch(report: dict[str, float], max_tokens: int) -> None:
    """Time LLM's start and generate, and limit a response to `max_tokens`."""
    import vllm

    llm: Any = vllm.LLM
    start, generate = llm.__init__, llm.generate

    def timed_start(self: Any, *values: Any, **named: Any) -> None:
        begun = time.monotonic()
        start(self, *values, **named)
        report["load"] += time.monotonic() - begun

    def timed_generate(self: Any, prompts: Any, sampling_params: Any = None, **named: Any) -> Any:
        for one in sampling_params if isinstance(sampling_params, list) else [sampling_params]:
            one.max_tokens = min(one.max_tokens, max_tokens)
        begun = time.monotonic()
        outputs = generate(self, prompts, sampling_params, **named)
        report["generate"] += time.monotonic() - begun
        report["prompts"] += len(outputs)
        report["prompt_tokens"] += sum(len(one.prompt_token_ids) for one in outputs)
        report["response_tokens"] += sum(len(one.token_ids) for row in outputs for one in row.outputs)
        return outputs

    llm.__init__, llm.generate = timed_start, timed_generate


def main() -> None:
    """Run the module as the command line; write the report when it has ended without an error."""
    path, max_tokens, module, *arguments = sys.argv[1:]
    names = ("load", "generate", "prompts", "prompt_tokens", "response_tokens")
    report: dict[str, float] = dict.fromkeys(names, 0)
    watch(report, int(max_tokens))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    Path(path).write_text(json.dumps(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
