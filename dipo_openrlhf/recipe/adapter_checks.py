"""What cannot work with LoRA, or without it (checks.py refuses it)."""

from __future__ import annotations

from dipo_openrlhf.recipe.recipe import Recipe

RANK = "ds.lora.rank"
_ALPHA, _DROPOUT, _MODULES = "ds.lora.alpha", "ds.lora.dropout", "ds.lora.target_modules"
_ALONE = "does not go with ds.lora.rank: "
# Key, what it has to be, why.
_REQUIRED = (
    ("ds.tensor_parallel_size", 1, _ALONE + "split weights are not merged; use ds.zero_stage 3"),
    ("ds.use_universal_ckpt", False, _ALONE + "a checkpoint holds the adapters alone"),
)


def adapter_problem(recipe: Recipe) -> tuple[str, str] | None:
    """(key, reason) of the first setting that cannot work; None where there is none."""
    rank = recipe.get(RANK)
    if rank == 0:
        given = next((key for key in (_ALPHA, _DROPOUT, _MODULES) if key in recipe.openrlhf), None)
        return (given, f"does nothing without adapters: leave it out, or set {RANK}") if given else None
    if problem := _modules_problem(recipe.get(_MODULES)):
        return _MODULES, problem
    return next(((key, why) for key, wanted, why in _REQUIRED if recipe.get(key) != wanted), None)


def _modules_problem(modules: str | list[str]) -> str:
    if isinstance(modules, str):  # OpenRLHF's default
        return ""
    if not modules or "all-linear" in modules:
        return "name layers such as q_proj, or leave it out: all linear layers are OpenRLHF's default"
    if any(name.rpartition(".")[2] in ("embed_tokens", "lm_head", "wte") for name in modules):
        return (
            "embeddings may be one matrix with the output layer, which an adapter would part: leave them out"
        )
    return ""
