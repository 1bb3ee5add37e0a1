"""DiPO's own share of a training step: in a finished run, and in a simulated batch of 512 x 16 x 4,096 tokens.

    python benchmarks/dipo_share.py --run runs/quickstart       seconds DiPO took against seconds a step took
    python benchmarks/dipo_share.py --simulate                  the real experience maker on a batch of real size

The simulated batch has no model behind it. Its step is put beside two things: a forward and a forward-backward pass of
the quickstart's model of a million parameters over the same tokens on this machine (timed on a part of them), and an
estimate for a 4B model on 8 GPUs with the arithmetic shown, without its generation, which takes as long again.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

os.environ.setdefault("DIPO_CPU", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

import torch
import typer
from common import command, timed

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.record.run_log import read_metrics

PROMPTS, GROUP, TOKENS = 512, 16, 4096
MICRO_BATCH = 16
CLUSTER = {"parameters": 4e9, "gpus": 8, "flops_per_gpu": 4e14}  # 4B; 40% of an H100's dense bf16 peak
TIMED_ROWS = 2  # sequences of full length that the model's time is measured on


def run_share(run_dir: Path) -> None:
    rows = [row for row in read_metrics(run_dir) if row.get("dipo/seconds") is not None]
    if not rows:
        raise SystemExit(f"{run_dir}: metrics.jsonl has no dipo/seconds")
    ours = sum(row["dipo/seconds"] for row in rows)
    steps = sum(row["timing/step_total"] for row in rows)
    print(f"{run_dir}: {len(rows)} steps, {steps:.2f} s; DiPO {ours:.4f} s: {ours / steps:.3%} of a step")


def arguments() -> SimpleNamespace:
    return SimpleNamespace(
        algo=SimpleNamespace(
            advantage=SimpleNamespace(estimator="group_norm", gamma=1.0, lambd=1.0, no_std_norm=False),
            kl=SimpleNamespace(use_loss=False),
        ),
        rollout=SimpleNamespace(
            n_samples_per_prompt=GROUP,
            max_new_tokens=TOKENS,
            batch_size=PROMPTS,
            micro_batch_size=MICRO_BATCH,
        ),
        train=SimpleNamespace(batch_size=PROMPTS * GROUP, dynamic_batch_enable=False),
        reward=SimpleNamespace(
            clip_range=(-10, 10),
            overlong_buffer_len=None,
            overlong_penalty_factor=1.0,
            stop_properly_penalty_coef=None,
        ),
        data=SimpleNamespace(max_len=2 * TOKENS),
    )


def simulated_batch(seed: int = 0) -> list[Any]:
    """Micro-batches as the actor returns them; a third of the groups extreme, all responses of full length."""
    from openrlhf.trainer.ppo_utils.experience import Experience

    generator = torch.Generator().manual_seed(seed)
    correct = torch.rand(PROMPTS, GROUP, generator=generator) < 0.5
    correct[: PROMPTS // 6], correct[PROMPTS // 6 : PROMPTS // 3] = False, True
    level = torch.where(correct, 0.5, 0.8) + 0.2 * torch.randn(PROMPTS, GROUP, generator=generator)
    level[: PROMPTS // 12] -= 0.4  # half of the incorrect groups are confident: DiPO acts on them
    scores, level = correct.float().reshape(-1), level.reshape(-1)
    experiences = []
    for rows in torch.arange(PROMPTS * GROUP).split(MICRO_BATCH):
        shape = (len(rows), TOKENS)
        experiences.append(
            Experience(
                index=rows.tolist(),
                prompts=["prompt"] * len(rows),
                rewards=scores[rows].clone(),
                scores=scores[rows].clone(),
                action_mask=torch.ones(shape, dtype=torch.long),
                action_log_probs=-level[rows][:, None] * torch.rand(shape, generator=generator) * 2,
                kl=torch.zeros(shape),
                response_length=torch.full((len(rows),), TOKENS),
                info={"reward": scores[rows].clone()},
            )
        )
    return experiences


def model_seconds() -> float:
    """One forward and one forward-backward pass of the quickstart's architecture over the whole batch."""
    from dipo_openrlhf.quickstart.lessons.arithmetic import build_tokenizer
    from dipo_openrlhf.quickstart.lessons.lesson import PretrainSettings
    from dipo_openrlhf.quickstart.pretrain import new_model

    model = new_model(build_tokenizer(), PretrainSettings())
    tokens = torch.randint(0, model.config.vocab_size, (TIMED_ROWS, TOKENS))
    with torch.no_grad():
        forward, _ = timed(lambda: model(tokens))
    both, _ = timed(lambda: model(tokens, labels=tokens).loss.backward())
    return (forward + both) * PROMPTS * GROUP / TIMED_ROWS


def simulated_step(repeats: int) -> None:
    cpu.install()
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    from dipo_openrlhf.openrlhf_patch.experience_maker import DiPOExperienceMaker

    parts = (None, None, None, None, SimpleNamespace(value=0.0), SimpleNamespace(args=arguments()), None)
    maker = DiPOExperienceMaker(*parts, dipo_config=DipoConfig())
    ours, whole, plain = [], [], []
    for repeat in range(repeats):
        for each, seconds in ((maker, whole), (RemoteExperienceMaker(*parts), plain)):
            batch = simulated_batch(repeat)
            seconds.append(
                timed(lambda each=each, batch=batch: each.compute_advantages_and_returns(batch))[0]
            )
            del batch
        ours.append(float(maker.metrics["dipo/seconds"]))
    model = model_seconds()
    acted = maker.metrics["dipo/fired_hard"] + maker.metrics["dipo/fired_easy"]
    print(f"{PROMPTS} prompts x {GROUP} responses x {TOKENS} tokens, {repeats} repeats, best of each")
    print(f"  OpenRLHF's advantages alone        {min(plain):8.2f} s")
    print(f"  with DiPO                          {min(whole):8.2f} s")
    print(f"  DiPO's own part (dipo/seconds)     {min(ours):8.2f} s   acted on {acted:.0f} groups")
    print(f"  a million parameters over the same {model:8.0f} s   (forward, then forward and backward)")
    print(f"  DiPO's share of such a step        {min(ours) / (model + min(whole)):8.3%}")
    # 2 FLOPs a parameter and token forward (perplexities), 6 forward and backward (update).
    flops = 8 * CLUSTER["parameters"] * PROMPTS * GROUP * TOKENS
    cluster = flops / (CLUSTER["gpus"] * CLUSTER["flops_per_gpu"])
    print(
        f"  estimate: {flops:.2g} FLOPs on 8 GPUs at 400 TFLOP/s {cluster:.0f} s; DiPO {min(ours) / cluster:.2%}"
    )


def main(
    run: Path | None = None, simulate: Annotated[bool, typer.Option("--simulate")] = False, repeats: int = 3
) -> None:
    if run is None and not simulate:
        raise SystemExit("give --run FOLDER or --simulate")
    if run is not None:
        run_share(run)
    if simulate:
        simulated_step(repeats)


if __name__ == "__main__":
    command(main, __doc__)
