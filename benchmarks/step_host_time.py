"""Host time of a step of 512 prompts x 16 samples x 4,096 tokens on one core, beside OpenRLHF's own functions.

    python benchmarks/step_host_time.py                     ours on the whole batch, OpenRLHF's on an eighth of it
    python benchmarks/step_host_time.py --part 1            OpenRLHF's on the whole batch too (minutes, 12 GB)

Everything that the trainer and the actor's ranks do between two calls of an engine or a model: the requests (pickled by
the trainer and read by the engines), samples from responses, micro-batches for scoring, advantages, windows, the ranks'
replay buffers and micro-batches, figures, logs. The real classes run; engines, forward and backward passes are left
out, and so are Ray's other transfers between processes (of the responses, of the micro-batches to be scored, and of the
windows to the ranks). The ranks' work, which a cluster does
on as many cores, is done here one after another and added up.
"""

from __future__ import annotations

import functools
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("DIPO_CPU", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from common import command, header, machine, row, save

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

cpu.install()

import openrlhf.trainer.ppo_utils.experience_maker as experience_maker  # noqa: E402
import openrlhf.trainer.ppo_utils.replay_buffer as replay_buffer  # noqa: E402
import openrlhf.trainer.ray.ppo_actor as ppo_actor  # noqa: E402
from openrlhf.trainer.ppo_trainer import BasePPOTrainer  # noqa: E402
from openrlhf.trainer.ppo_utils.experience import Experience, balance_experiences  # noqa: E402
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator  # noqa: E402
from ray import cloudpickle  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402
from vllm import SamplingParams  # noqa: E402

from dipo_openrlhf.algorithm import DipoConfig  # noqa: E402
from dipo_openrlhf.openrlhf_patch import update  # noqa: E402
from dipo_openrlhf.openrlhf_patch.engine import as_arrays  # noqa: E402
from dipo_openrlhf.openrlhf_patch.experience_maker import DiPOExperienceMaker  # noqa: E402
from dipo_openrlhf.record import run_log  # noqa: E402

PROMPTS, GROUP, PROMPT_TOKENS, TOKENS, RANKS = 512, 16, 200, 4096, 8
VOCABULARY = 151_643  # of Qwen2.5 and Qwen3
MAX_LEN, MAX_TOKENS = 10240, 10240  # of recipes/parts/math.yaml


def arguments(prompts: int) -> SimpleNamespace:
    """As recipes/parts/math.yaml and parts/cluster.yaml set them."""
    return SimpleNamespace(
        algo=SimpleNamespace(
            advantage=SimpleNamespace(
                estimator="group_norm", gamma=1.0, lambd=1.0, no_std_norm=False, is_correction_level="token"
            ),
            kl=SimpleNamespace(use_loss=False, estimator="k1"),
        ),
        rollout=SimpleNamespace(
            n_samples_per_prompt=GROUP,
            max_new_tokens=8192,
            batch_size=prompts,
            micro_batch_size=8,
            max_tokens_per_gpu=MAX_TOKENS,
        ),
        train=SimpleNamespace(
            batch_size=512,
            dynamic_batch_enable=True,
            max_tokens_per_gpu=MAX_TOKENS,
            seed=42,
            colocate_all=False,
            colocate_actor_ref=False,
            colocate_critic_reward=False,
            max_epochs=1,
        ),
        reward=SimpleNamespace(
            clip_range=(-10, 10),
            overlong_buffer_len=4096,
            overlong_penalty_factor=0.5,
            stop_properly_penalty_coef=None,
        ),
        actor=SimpleNamespace(
            num_nodes=1, num_gpus_per_node=RANKS, loss_agg_mode="token-mean", policy_loss_type="ppo"
        ),
        ds=SimpleNamespace(ring_attn_size=1, tensor_parallel_size=1),
        data=SimpleNamespace(max_len=MAX_LEN),
    )


def responses(prompts: int, seed: int = 0) -> list[dict[str, Any]]:
    """What the agent executor returns: all of full length, a third of the groups all correct or all incorrect."""
    generator = torch.Generator().manual_seed(seed)
    correct = torch.rand(prompts, GROUP, generator=generator) < 0.5
    correct[: prompts // 6], correct[prompts // 6 : prompts // 3] = False, True
    length = PROMPT_TOKENS + TOKENS
    tokens = torch.randint(3, 150_000, (length,), generator=generator).tolist()
    log_probs = [0.0] * PROMPT_TOKENS + (-torch.rand(TOKENS, generator=generator)).tolist()
    made = []
    for place, right in enumerate(correct.reshape(-1).tolist()):
        answer = {
            "prompt": f"prompt {place // GROUP}",
            "label": "7",
            "reward": float(right),
            "scores": float(right),
        }
        answer |= {"observation_tokens": tokens, "rollout_log_probs": log_probs, "truncated": False}
        answer |= {"action_ranges": [(PROMPT_TOKENS, length)], "extra_logs": {"verifier/undecided": 0.0}}
        made.append(answer)
    return made


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Made up, of the size of Qwen's."""
    draw = random.Random(0)
    tokens = [chr(0x100 + place) for place in range(256)]
    places, merges = {token: place for place, token in enumerate(tokens)}, []
    while len(tokens) < VOCABULARY:
        pair = draw.choice(tokens), draw.choice(tokens)
        if len(token := "".join(pair)) <= 10 and token not in places:
            places[token] = len(tokens)
            tokens.append(token)
            merges.append(pair)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(places, merges)), eos_token=tokens[0]
    )


def request(prompts: int, ours: bool) -> None:
    """What rollouts.py, OrderedGenerator or OpenRLHF's generator sends to engines, pickled and read as Ray does it.

    Ours has sent the tokenizer to each engine before the first step.
    """
    made = tokenizer()
    params = SamplingParams(max_tokens=8192, temperature=1.0, top_p=1.0, logprobs=1)
    for place in range(prompts):
        words = {"prompt": f"prompt {place} " * 50, "label": "7", "max_length": MAX_LEN, "num_samples": GROUP}
        words |= {"sampling_params": params.clone(), "hf_tokenizer": None if ours else made, "images": None}
        cloudpickle.loads(cloudpickle.dumps(words, protocol=5))


class Scorer:
    """Stands for the actor's ranks, scoring: log-probabilities from nowhere; `seconds` are not the step's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def async_run_method_batch(self, method_name: str, **batch: Any) -> list[Any]:
        started = time.process_time()
        found = [-torch.rand(mask.shape) for mask in batch["action_mask"]]
        self.seconds += time.process_time() - started
        return [found]


class Strategy:
    """DeepSpeed's strategy on one of RANKS ranks, the others being asked nothing."""

    ring_attn_group = None
    accumulated_gradient = 1

    def __init__(self, args: Any) -> None:
        self.args = args
        self.ds_device_mesh = {"dp": SimpleNamespace(get_group=lambda: None)}

    def is_rank_0(self) -> bool:
        return False

    def all_reduce(self, data: Any, op: str = "mean") -> Any:
        return data


def trainer_of(strategy: Strategy) -> Any:
    """The update of a rank, without its model: `training_step` gives the figures that OpenRLHF's gives."""
    trainer = object.__new__(ppo_actor.ActorPPOTrainer)
    trainer.strategy, trainer.args, trainer.max_epochs = strategy, strategy.args, 1
    trainer.dataloader_pin_memory = False
    trainer.replay_buffer = ppo_actor.NaiveReplayBuffer(8, 0, True, True, True)

    def training_step(experience: Any, kl_ctl: float, step: int, loss_batch_info: Any) -> dict[str, Any]:
        metrics = {"policy_loss": torch.tensor(0.0), "ppo_clip_ratio": torch.tensor(0.0), "actor_lr": 1e-6}
        weights: dict[str, Any] = {"policy_loss": "token", "ppo_clip_ratio": "token", "actor_lr": None}
        for key, value in experience.info.items():
            metrics[key] = (
                value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float)
            )
            weights[key] = "sample"
        size, tokens = float(len(experience.action_mask)), float(experience.action_mask.sum().item())
        return {"metrics": metrics, "weights": weights, "num_samples": size, "num_action_tokens": tokens}

    trainer.training_step = training_step
    return trainer


class Clock:
    """Processor seconds of each phase, in order: with one thread, the seconds it takes on an idle core."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, phase: str, work: Callable[[], Any], minus: Callable[[], float] = lambda: 0.0) -> Any:
        before, started = minus(), time.process_time()
        result = work()
        seconds = time.process_time() - started - (minus() - before)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        return result


def scored(prompts: int, ours: bool, args: Any, clock: Clock) -> tuple[Any, list[Experience]]:
    """(the experience maker, micro-batches with the actor's log-probabilities)"""
    generator, scorer = object.__new__(SamplesGenerator), Scorer()
    made = as_arrays(responses(prompts)) if ours else responses(prompts)  # arrays: by the engines' processes
    samples = clock.run(
        "samples from responses",
        lambda: [generator._process_response_into_experience(each, max_len=MAX_LEN) for each in made],
    )
    parts = (
        scorer,
        None,
        None,
        None,
        SimpleNamespace(value=0.0),
        Strategy(args),
        SimpleNamespace(pad_token_id=0),
    )
    theirs = experience_maker.RemoteExperienceMaker
    maker: Any = DiPOExperienceMaker(*parts, dipo_config=DipoConfig()) if ours else theirs(*parts)
    batches = clock.run("micro-batches for scoring", lambda: maker.split_rollout_samples(samples))
    return maker, clock.run("scores joined", lambda: maker.make_experience(batches), lambda: scorer.seconds)


def step(prompts: int, ours: bool) -> dict[str, float]:
    """Seconds by phase."""
    args, clock = arguments(prompts), Clock()
    tokenizer()
    clock.run("requests", lambda: request(prompts, ours))
    maker, experiences = scored(prompts, ours, args, clock)
    maker.split_rollout_samples = maker.make_experience = lambda given: given
    windows = clock.run("advantages, windows", lambda: maker.make_experience_batch(experiences))
    clock.run("figures, logs", lambda: BasePPOTrainer._compute_rollout_stats(None, windows))
    shares = windows if ours else clock.run("advantages, windows", lambda: balance_experiences(windows, args))
    per_rank = len(shares) // RANKS
    for rank in range(RANKS):
        update_of, share = trainer_of(Strategy(args)), shares[rank * per_rank : (rank + 1) * per_rank]
        clock.run("ranks: replay buffer", lambda u=update_of, s=share: [u.replay_buffer.append(e) for e in s])
        clock.run("ranks: micro-batches, figures", lambda u=update_of: u.ppo_train(0.0))
    if ours:
        with tempfile.TemporaryDirectory() as folder:
            clock.run("figures, logs", lambda: run_log.append_rollouts(Path(folder), 1, maker.rollouts))
            clock.run("figures, logs", lambda: run_log.append_metrics(Path(folder), 1, maker.metrics))
    return clock.seconds


def main(part: int = 8, prompts: int = PROMPTS, out: Path | None = None) -> None:
    torch.set_num_threads(1)
    ray = SimpleNamespace(put=lambda value: value, get=lambda value: value)
    experience_maker.ray = ray
    one = SimpleNamespace(
        get_world_size=lambda group: RANKS,
        all_reduce=lambda *a, **b: None,
        ReduceOp=replay_buffer.dist.ReduceOp,
    )
    replay_buffer.dist = one
    theirs = step(prompts // part, ours=False) if part else {}
    update.install()
    mine = step(prompts, ours=True)
    print(f"{machine()}; one thread; {prompts} prompts x {GROUP} samples x {TOKENS} tokens, {RANKS} ranks")
    header("phase", "ours, s", f"OpenRLHF, s (1/{part} of the batch, times {part})")
    for phase, seconds in mine.items():
        row([phase, f"{seconds:.2f}", f"{theirs.get(phase, 0.0) * part:.1f}"])
    row(["total", f"{sum(mine.values()):.2f}", f"{sum(theirs.values()) * part:.1f}"])
    save(out, {"ours": mine, "openrlhf": theirs, "part": part, "prompts": prompts, "machine": machine()})


if __name__ == "__main__":
    command(main, __doc__)
