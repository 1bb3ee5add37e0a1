"""The options of one evaluation, the same for all of its checkpoints and suites, and which of them are refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.engines.base import DTYPES, Sampling
from dipo_eval.engines.registry import ENGINES
from dipo_eval.errors import UserError
from dipo_eval.results.store import suite_folder
from dipo_eval.secrets.refusing import refuse_secrets, refuse_url_secrets
from dipo_eval.secrets.values import secrets_in
from dipo_eval.subject.checkpoints import Checkpoint


@dataclass(frozen=True)
class Options:
    """The arguments of evaluate that hold for every checkpoint and suite; see there for units and defaults."""

    results_dir: Path
    run: str
    engine: str
    sampling: Sampling
    samples: int
    limit: int | None
    max_new_tokens: int
    max_model_len: int | None
    dtype: str
    seed: int
    force: bool
    stop: tuple[str, ...] = ()
    thinking: bool | None = None
    base_url: str | None = None
    log: Callable[[str], None] = lambda line: None  # one line that the user should know

    def settings(self) -> dict[str, Any]:
        """The settings of results.json, without those of the model (Identity) and of its prompts (Renderer)."""
        return {
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_new_tokens": self.max_new_tokens,
            "max_model_len": self.max_model_len,
            "n_samples": self.samples,
            "seed": self.seed,
            "limit": self.limit,
            "stop": list(self.stop),
            "thinking": self.thinking,
        }


def check_options(options: Options, checkpoints: Sequence[Checkpoint]) -> None:
    """Raises UserError for what cannot be evaluated, or must not be stored, before anything is loaded."""
    engine, samples, tokens = options.engine, options.samples, options.max_new_tokens
    temperature, served = options.sampling.temperature, options.engine == "openai"
    refused = {
        "no checkpoint to evaluate; name a model folder": not checkpoints,
        f"unknown engine {engine!r}; choose from {', '.join(ENGINES)}": engine not in ENGINES,
        f"samples={samples} and max_new_tokens={tokens} must be at least 1": min(samples, tokens) < 1,
        f"unknown dtype {options.dtype!r}; choose from {', '.join(DTYPES)}": options.dtype not in DTYPES,
        "temperature must be 0 or more and top_p in (0, 1]":
            not (temperature >= 0 and 0 < options.sampling.top_p <= 1),
        f"{samples} samples at temperature 0 would be alike; set --temperature above 0":
            samples > 1 and temperature == 0,
        "a stop string is empty, which would end every response at once; leave it out": "" in options.stop,
        "engine openai and base_url go together: name the server with --base-url, or neither":
            served != (options.base_url is not None),
        "a server has its own chat template: set its thinking mode there, not with --thinking":
            served and options.thinking is not None,
    }  # fmt: skip
    for message, found in refused.items():
        if found:
            raise UserError(message)
    if options.base_url is not None:
        refuse_url_secrets("--base-url", options.base_url, "set the environment variable OPENAI_API_KEY")
    written = [str(options.settings()), *(str(checkpoint.path) for checkpoint in checkpoints)]
    refuse_secrets("the evaluation's settings", "\n".join(written), secrets_in(os.environ))
    for checkpoint in checkpoints:
        suite_folder(options.results_dir, options.run, checkpoint.name, "suite")
