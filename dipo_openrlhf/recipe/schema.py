"""The typed sections of a recipe that are this project's own: `run`, `evaluate` and `watch`; imports nothing of ours.

`dipo` is `dipo_openrlhf.algorithm.DipoConfig`; every other key is an argument of OpenRLHF (load.py).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MAX_UNDECIDED_RATE = 0.2
OFFLINE_BATCH = {"max_num_seqs": 256, "max_num_batched_tokens": 8192}
"""Of an engine: vllm/engine/arg_utils.py, EngineArgs.get_batch_defaults, for offline use on smaller GPUs."""
CPU_BATCH = {"max_num_seqs": 512}
"""The same on CPU: a quickstart's batch."""

BUCKET_BYTES = 512 << 20
"""Of one bucket of the weight sync: on the actor (twice with ZeRO 3, which gathers as much beside it) and on each engine.
A larger parameter has a bucket of its own."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class RunSection(_Section):
    """`run:` where a run lives and what it runs on."""

    name: str = ""
    """Name of the run on the board; the recipe's file name if empty."""
    dir: str = ""
    """Folder of the run; runs/<name> if empty."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: cpu when this machine has no NVIDIA device, or this is the CPU environment (`make setup`). gpu: also from a
    head node without one."""
    nodes: int = Field(0, ge=0, le=10_000)
    """Nodes of the cluster that the recipe is sized for: it is refused where its training does not fit, and
    vllm.num_engines, left out, is what fits. 0: unknown, nothing is checked."""
    gpus_per_node: int = Field(8, ge=1, le=128)
    """GPUs of each node: of run.nodes, and of those that a launcher requests."""
    max_num_seqs: int | None = Field(None, ge=1)
    """Sequences that a rollout engine decodes at once (vLLM's own option). Empty: 512 on CPU, and 256 on GPUs, vLLM's
    offline value for smaller GPUs. OpenRLHF names none, so vLLM would fall back to 128. The shipped recipes have 512,
    vLLM's largest CUDA graph."""
    max_num_batched_tokens: int | None = Field(None, ge=1)
    """Tokens of one forward pass of an engine, prompts in pieces included (vLLM's own option). Empty: 8,192 on GPUs,
    vLLM's offline value for smaller GPUs. OpenRLHF names none, so vLLM would fall back to 2,048."""
    ray: Literal["auto", "cluster"] = "auto"
    """auto: on CPU a Ray of the run's own, on GPUs as OpenRLHF does. cluster: join the Ray cluster of RAY_ADDRESS, else
    of this machine, as `dipo submit` does; never stop it."""
    cpu_threads: int = Field(0, ge=0)
    """OpenMP threads of each process on CPU; 0: one for each core that the machine, or the container, may use."""
    save_rollouts: bool = True
    """Write rollouts.jsonl: correctness, reward and log-perplexity of every response."""
    dump_experiences: bool = False
    """Write experiences/step_N.pt: complete training batches, token by token; large."""
    skip_idle_samples: bool = True
    """Leave samples whose advantages are all zero out of the update, such as those of groups without variance that DiPO
    does not act on: the same gradient in less time (with dropout, in expectation). Without effect where the update or its
    log needs them: actor.entropy_coef, actor.aux_loss_coef, algo.kl.use_loss, algo.kl.target."""
    log_vllm_kl: bool = True
    """Log vllm_kl in every step, and warn where it shows that weights do not reach the engines. The engines then return
    the log-probabilities of what they sample; training uses them only with algo.advantage.is_correction_level."""
    seeded_rollouts: Literal["auto", "on", "off"] = "auto"
    """on: every response comes from a seed made from train.seed and the prompt's place in the data, so that a resumed run
    equals an uninterrupted one on CPU; on GPUs sums depend on what else is in a batch, and it need not. auto: on CPU."""
    max_restarts: int = Field(0, ge=0)
    """How often a failed run (a dead engine, actor or node, a hang) restarts from its last complete checkpoint."""
    wandb: Literal["auto", "on", "off"] = "auto"
    """auto: when WANDB_API_KEY or WANDB_MODE is set. The key is never an argument or a recipe's value."""
    call_form: Literal[
        "auto", "any", "hermes", "llama3_json", "pythonic", "qwen3_coder", "glm45", "deepseek_v3", "deepseek_v32",
        "mistral", "granite", "phi4_mini_json", "kimi_k2", "openai", "minimax_m2", "functiongemma", "internlm", "jamba",
    ] = "auto"  # fmt: skip
    """Form in which the model is to write calls: those in another are not read. auto: with a tool agent the form that the
    model's chat template writes, any where that cannot be told; for rewards/function_call.py any, since a row's prompt
    teaches the form. The other names are those of vLLM's --tool-call-parser."""
    max_undecided_rate: float = Field(DEFAULT_MAX_UNDECIDED_RATE, ge=0, le=1)
    """Share of a step's samples that the verifier may leave undecided (time limit, error) before the run is ended, since
    it would train on noise; 1: never."""
    keep_exports: int | None = Field(None, ge=0)
    """Hugging Face exports kept, of which ckpt.max_num can be resumed from; 0: all; empty: as many as ckpt.max_num. The
    best one by evaluation is always kept, and those that the watcher has still to evaluate."""
    start_timeout: int | None = Field(None, ge=30)
    """Seconds that models and engines may take to start before the run is ended; empty: 3600 on GPUs, where models are
    downloaded and kernels compiled, 900 on CPU."""
    step_timeout: int = Field(3600, ge=30)
    """Seconds one training step may take before the run is ended as hanging; the first of a start has run.start_timeout
    in addition."""
    save_before: int | None = Field(None, ge=0)
    """Seconds from a request to stop (Slurm's time limit or preemption, a pod's end, `ray job stop`, a drained node,
    SIGTERM or SIGUSR1) in which the run may end its step and save it: longer than a step and a checkpoint. 0: it ends at
    once; empty: 1800 on GPUs, 300 on CPU."""


class EvaluateSection(_Section):
    """`evaluate:` what every checkpoint is measured on."""

    suites: list[str] = Field(default_factory=list)
    """Names from `dipo eval --list`."""
    data_dir: str = ""
    """Folder of the suites' JSON-lines files; DIPO_DATA_DIR if empty."""
    engine: Literal["vllm", "hf"] = "vllm"
    """What generates, as in `dipo eval`."""
    samples: int = Field(1, ge=1)
    """Samples per item; 1 is greedy unless temperature is set."""
    limit: int | None = Field(None, ge=1)
    """N items of each suite, as `dipo eval --limit` draws them."""
    temperature: float = Field(0.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = Field(512, ge=1)
    """Longest answer, tokens."""
    seed: int = Field(0, ge=0)
    """Seed of sampling and of generated suites."""


class WatchSection(_Section):
    """`watch:` the watcher that `dipo train` starts where `evaluate.suites` names something (docs/watch.md)."""

    enabled: bool = True
    """Start a watcher with the training; false: `dipo watch` by hand."""
    when: Literal["during", "after"] = "during"
    """during: beside the training. after: when it has ended, for a machine whose cores it needs itself."""
    wait: bool = False
    """The training waits after each save until that checkpoint is evaluated."""
    wait_timeout: int = Field(3600, ge=1)
    """Seconds the training waits for one evaluation before it goes on without."""
    every: int = Field(1, ge=1)
    """Evaluate every N-th checkpoint, and always the last."""
    order: Literal["oldest", "newest"] = "oldest"
    """Which of a backlog is evaluated first."""
    best: str = ""
    """SUITE or SUITE:METRIC that marks the best; the first suite's accuracy if empty."""
    attempts: int = Field(2, ge=1)
    """Attempts at a checkpoint whose evaluation fails."""
    deadline: int = Field(7200, ge=1)
    """Seconds without a finished response or verdict after which an evaluation is ended."""
    finish_timeout: int = Field(7200, ge=0)
    """Seconds `dipo train` waits at its end for the evaluations that are left."""
    nice: int = Field(10, ge=0, le=19)
    """Niceness of the watcher's process on a shared machine."""
    num_gpus: float = Field(1.0, ge=0)
    """GPUs that the watcher requests from Ray, in a GPU run."""
    num_cpus: float = Field(1.0, ge=0)
    """CPU cores that it requests from Ray, in a GPU run."""
    ray: bool = True
    """In a GPU run: run the watcher as a Ray task; false: as a process of this machine."""


SECTIONS: dict[str, type[BaseModel]] = {"run": RunSection, "evaluate": EvaluateSection, "watch": WatchSection}
