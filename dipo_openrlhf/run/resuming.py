"""Whether a run may start in its folder, or continue there as the same run: by content, not by paths."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.yaml_file import read_yaml
from dipo_openrlhf.recipe.openrlhf_args import portable
from dipo_openrlhf.recipe.recipe import BOOKKEEPING, Recipe
from dipo_openrlhf.recipe.yaml_lines import stored_settings
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.provenance import check_same_prompts, content_of
from dipo_openrlhf.run.plan import RECIPE, settings_of

# What may change between a run and its resumption: bookkeeping, and what costs memory and time alone.
_MAY_CHANGE = (
    *BOOKKEEPING, "train.micro_batch_size", "train.max_tokens_per_gpu", "rollout.micro_batch_size",
    "rollout.max_tokens_per_gpu", "vllm.gpu_memory_utilization", "vllm.enforce_eager", "vllm.enable_prefix_caching",
    "vllm.enable_sleep", "ds.enable_sleep", "ds.overlap_comm", "actor.gradient_checkpointing_enable",
    "data.dataloader_num_workers",
)  # fmt: skip


def check_run_dir(recipe: Recipe, run_dir: Path, resume: bool) -> None:
    """Refuse to overwrite checkpoints, or to resume without any or as another run. Raises UserError; changes nothing."""
    record = run_dir / RECIPE
    if os.path.exists(record) and os.path.exists(recipe.source) and record.samefile(recipe.source):
        raise UserError(
            f"{recipe.source}: the run's record of its settings would replace the recipe: rename it, or choose another "
            "folder with --run.dir"
        )
    ckpt_path = Path(recipe.get("ckpt.path"))
    steps = checkpoints.resumable_steps(ckpt_path)
    if not resume:
        if steps:
            inside = ckpt_path.is_relative_to(run_dir)
            holder, option = (run_dir, "--run.dir") if inside else (ckpt_path, "--ckpt.path")
            raise UserError(
                f"{holder}: already holds checkpoints up to step {steps[-1]}: add --resume to continue, or choose "
                f"another folder with {option}"
            )
        return
    if not steps:
        raise UserError(f"{ckpt_path}: nothing to resume: no complete checkpoint (COMPLETE.json) there")
    _check_same_recipe(recipe, run_dir, ckpt_path, steps[-1])
    check_same_prompts(recipe.get("data.prompt_dataset"), ckpt_path, steps[-1])
    state = checkpoints.state_folder(ckpt_path, steps[-1])
    if not any(state.glob("*optim_states.pt")):
        raise UserError(
            f"{state}: the optimizer's state (*optim_states.pt) is missing: restore it, or remove the folder to resume "
            "from an earlier step"
        )


def warn_run_dir(recipe: Recipe, resume: bool, say: Callable[[str], None]) -> None:
    """check_run_dir for a command that is only shown: a new run in a folder in use is a warning."""
    try:
        check_run_dir(recipe, recipe.run_dir.resolve(), resume)
    except UserError as error:
        if resume:
            raise
        say(f"warning: would not start: {error}")


def _check_same_recipe(recipe: Recipe, run_dir: Path, ckpt_path: Path, step: int) -> None:
    path = run_dir / RECIPE
    if not path.exists():
        _check_same_hash(recipe, run_dir, ckpt_path, step)
        return
    before, now = stored_settings(path), settings_of(recipe)
    content_before, content_now = _stored_content(path), content_of(recipe.openrlhf)
    for key in sorted(content_before.keys() & content_now.keys()):
        if content_before[key] != content_now[key] and key != "data.prompt_dataset":  # check_same_prompts
            raise UserError(
                f"{run_dir}: cannot resume: {key}: {recipe.get(key)!r} has changed since the start (sha256 "
                f"{content_now[key][:12]}, it was {content_before[key][:12]}): restore it, or start a new run"
            )
    same = {key for key in content_before if content_now.get(key) == content_before[key]}
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if portable(before.get(key)) != portable(now.get(key))
        and key not in same
        and not key.startswith(_MAY_CHANGE)
    ]
    if changed:
        shown = ", ".join(
            f"{key} ({short_repr(before.get(key))} -> {short_repr(now.get(key))})" for key in changed[:3]
        )
        raise UserError(
            f"{run_dir}: cannot resume with a changed recipe: {shown}; undo it or start a new run"
        )


def _stored_content(path: Path) -> dict[str, Any]:
    """Of recipe.yaml; empty in that of an older version."""
    content = read_yaml(path)
    found = content.get("content") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _check_same_hash(recipe: Recipe, run_dir: Path, ckpt_path: Path, step: int) -> None:
    """Without recipe.yaml the checkpoint's own record tells whether the recipe is another."""
    marker = next((one.marker for one in checkpoints.marked_checkpoints(ckpt_path) if one.step == step), {})
    before = marker.get("recipe_hash")
    if before and before != recipe.hash:
        raise UserError(
            f"{run_dir}: cannot resume: {RECIPE} is not there, and step {step} in {ckpt_path} is of another recipe (hash "
            f"{before}, this one is {recipe.hash}): restore the file, or start a new run"
        )
