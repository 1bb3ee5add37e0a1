"""bfcl-eval's `generate` or `evaluate` for a model that its table does not have. Called by benchmarks/evaluation.py.

    python benchmarks/evaluation_bfcl.py generate MODEL MAX_TOKENS     the ids of test_case_ids_to_generate.json;
                                                                       counts are written to requests.json
    python benchmarks/evaluation_bfcl.py evaluate CATEGORY,CATEGORY    what has been generated

Both in the folder BFCL_PROJECT_ROOT, with the server at LOCAL_SERVER_PORT. The code is bfcl-eval's: its scheduler of
100 threads, its prompts, its handler for any model with a chat template
(bfcl_eval/model_handler/local_inference/quick_testing_oss.py, QuickTestingOSSHandler). A stand-in for its table of models
avoids the import of a dozen API clients.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import types
from pathlib import Path
from typing import Any

NAME = "local"
_MODELS = "bfcl_eval.constants.model_config"


def handler(max_tokens: int, counts: dict[str, int]) -> Any:
    """Makes bfcl-eval's handler for any model, which asks for `max_tokens` tokens a response and not for 4,096.

    Requests that the server answered, and their tokens, are added up in `counts`.
    """
    from bfcl_eval.model_handler.local_inference.quick_testing_oss import QuickTestingOSSHandler

    def made(**named: Any) -> Any:
        one = QuickTestingOSSHandler(**named)
        create, lock = one.client.completions.create, threading.Lock()

        def limited(**request: Any) -> Any:
            reply = create(**{**request, "max_tokens": min(request["max_tokens"], max_tokens)})
            with lock:
                counts["prompts"] += 1
                counts["prompt_tokens"] += reply.usage.prompt_tokens
                counts["response_tokens"] += reply.usage.completion_tokens
            return reply

        one.client.completions.create = limited
        return one

    return made


def main() -> None:
    """One of the two commands, with the arguments that its users would give."""
    table: dict[str, Any] = {}
    stand_in = types.ModuleType(_MODELS)
    stand_in.__dict__["MODEL_CONFIG_MAPPING"] = table
    sys.modules[_MODELS] = stand_in
    action, *arguments = sys.argv[1:]
    counts = {"prompts": 0, "prompt_tokens": 0, "response_tokens": 0}
    table[NAME] = types.SimpleNamespace(
        model_name=NAME, display_name=NAME, url="", org="", license="", input_price=None, output_price=None,
        is_fc_model=False, underscore_to_dot=False,
        model_handler=handler(int(arguments[1]) if action == "generate" else 1, counts),
    )  # fmt: skip
    if action == "evaluate":
        from bfcl_eval.eval_checker.eval_runner import main as evaluate

        evaluate([NAME], arguments[0].split(","), None, None, partial_eval=True)
        return
    from bfcl_eval._llm_response_generation import main as generate

    generate(
        types.SimpleNamespace(
            model=[NAME], test_category=["all"], temperature=0.0, include_input_log=False,
            exclude_state_log=False, num_gpus=1, num_threads=None, gpu_memory_utilization=0.9, backend="vllm",
            skip_server_setup=True, local_model_path=arguments[0], result_dir=None, allow_overwrite=False,
            run_ids=True, enable_lora=False, max_lora_rank=None, lora_modules=None,
        )
    )  # fmt: skip
    path = Path(os.environ["BFCL_PROJECT_ROOT"]) / "requests.json"
    path.write_text(json.dumps(counts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
