"""Sentences about a run: what was trained, on what, and how often DiPO acted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dipo_eval.board import numbers
from dipo_eval.board.data.runlog import RunLog
from dipo_eval.board.data.stored import number

METHODS = {"grpo": "GRPO", "dapo": "DAPO", "dr_grpo": "Dr. GRPO", "rl_zvp": "RL-ZVP", "cde": "CDE"}
REASONS = {
    "not_significant": "no threshold separated correct from incorrect with enough confidence",
    "too_few_samples": "too few responses on one side of every threshold",
    "one_class": "all responses were correct, or all were incorrect",
    "empty": "no response had a perplexity",
    "constant_log_ppl": "all perplexities were the same",
}


def run_sentence(run: RunLog) -> str:
    """One sentence for the top of the page, from the recipe's keys (OpenRLHF's own names) and the log."""
    steps = numbers.plural(len(run.rows), "step")
    model, data = lookup(run.recipe, "actor.model_name_or_path"), lookup(run.recipe, "data.prompt_dataset")
    subject = f"{short_name(model)} was trained" if model else "Trained"
    on_data = f" on {short_name(data)}" if data else ""
    sizes = [number(lookup(run.recipe, f"rollout.{key}")) for key in ("batch_size", "n_samples_per_prompt")]
    batch, group = map(numbers.count, sizes)
    shape = f" of {batch} prompts with {group} responses each" if all(sizes) else ""
    return f"{subject} with {method(run)}{on_data} for {steps}{shape}."


def method(run: RunLog) -> str:
    """The recipe's `dipo.method`, with DiPO's weight; without a recipe DiPO where its groups are logged.

    The resolved recipe of a baseline holds DiPO's unused switches too: the method decides, not alpha.
    """
    named = lookup(run.recipe, "dipo.method")
    if named is not None and named != "dipo":
        return METHODS.get(str(named), str(named))
    alpha = number(lookup(run.recipe, "dipo.alpha"))
    if alpha == 0:
        return "DAPO (DiPO's weight alpha is 0)"
    if alpha is not None:
        return f"DiPO (alpha {numbers.plain(alpha)})"
    if named == "dipo" or run.has("dipo/groups_hard"):
        return "DiPO"
    return str(lookup(run.recipe, "algo.advantage.estimator") or "an unnamed method")


def fire_sentence(run: RunLog) -> str | None:
    """Totals over the run: "acted on 41 of 312 extreme groups (13%): 25 of 200 hard, 16 of 112 easy"."""
    if not (run.has("dipo/groups_hard") or run.has("dipo/groups_easy")):
        return None
    hard, easy, fired_hard, fired_easy = (
        run.total(f"dipo/{kind}") for kind in ("groups_hard", "groups_easy", "fired_hard", "fired_easy")
    )
    extreme, fired = hard + easy, fired_hard + fired_easy
    if not extreme:
        return "No group was all-correct or all-incorrect, so DiPO had nothing to act on."
    share = 100 * fired / extreme
    digits = 0 if share >= 10 or share == 0 else 1
    return (
        f"DiPO acted on {fired:,} of {extreme:,} extreme groups ({share:.{digits}f}%): {fired_hard:,} of {hard:,} "
        f"hard, {fired_easy:,} of {easy:,} easy."
    )


def feasible_sentence(run: RunLog) -> str | None:
    """On how many steps a threshold was found, and the most frequent reason on the others."""
    flags = [(row, flag) for row in run.rows if (flag := _flag(row)) is not None]
    if not flags:
        return None
    text = f"A threshold was found on {sum(flag for _, flag in flags):,} of {numbers.plural(len(flags), 'step')}."
    reasons = [
        str(reason) for row, flag in flags if not flag and (reason := row.get("dipo/infeasible_reason"))
    ]
    if reasons:
        common = max(dict.fromkeys(reasons), key=reasons.count)
        text += f" On the others, most often: {REASONS.get(common, common)[:200]}."
    return text


def lookup(recipe: dict[str, Any], dotted: str) -> Any:
    """The value at `a.b.c`, nested, dotted, or in the `settings` of a resolved recipe; None where absent."""
    if dotted in recipe:
        return recipe[dotted]
    if isinstance(recipe.get("settings"), dict):
        return lookup(recipe["settings"], dotted)
    head, _, rest = dotted.partition(".")
    inner = recipe.get(head)
    return lookup(inner, rest) if rest and isinstance(inner, dict) else None


def short_name(value: Any) -> str:
    """The last part of a path or hub name: /models/Qwen3-4B-Base/ -> Qwen3-4B-Base."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(short_name(part) for part in value)
    parts = [part for part in str(value).split("/") if part]
    generic = len(parts) > 1 and parts[-1].split(".")[0] in ("train", "data", "prompts", "hf", "model")
    return "/".join(parts[-2:] if generic else parts[-1:])


def _flag(row: dict[str, Any]) -> bool | None:
    value = row.get("dipo/feasible")
    as_number = float(value) if isinstance(value, bool) else number(value)
    return None if as_number is None else as_number > 0.5
