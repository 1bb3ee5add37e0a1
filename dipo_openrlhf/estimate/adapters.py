"""LoRA's adapters in an estimate: how many parameters are trained, by the rules of OpenRLHF and peft."""

from __future__ import annotations

from dataclasses import dataclass

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.model_shapes import ModelShape
from dipo_openrlhf.recipe.recipe import Recipe

ALL_LINEAR = "all-linear"  # OpenRLHF's default: the linear layers of every block, not the output layer


@dataclass(frozen=True)
class Adapters:
    """One adapter of `rank` at each layer named in `modules`, in every block."""

    rank: int
    modules: tuple[str, ...]

    def block_parameters(self, shape: ModelShape) -> int:
        """rank * (inputs + outputs) of each adapted layer: its matrices A and B."""
        sizes = linear_sizes(shape)
        return sum(self.rank * sum(sizes[name]) for name in self.modules)

    def parameters(self, shape: ModelShape) -> int:
        """Of the whole model."""
        return shape.layers * self.block_parameters(shape)


def linear_sizes(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of each linear layer of a block."""
    attention = {
        "q_proj": (shape.hidden, shape.query),
        "k_proj": (shape.hidden, shape.key_value),
        "v_proj": (shape.hidden, shape.key_value),
        "o_proj": (shape.query, shape.hidden),
    }
    mlp = {name: (shape.hidden, shape.intermediate) for name in ("gate_proj", "up_proj")}
    return {**attention, **mlp, "down_proj": (shape.intermediate, shape.hidden)}


def adapters_of(recipe: Recipe, shape: ModelShape) -> Adapters | None:
    """None with full fine-tuning. Raises UserError for layers that cannot be counted."""
    rank, modules = recipe.get("ds.lora.rank"), recipe.get("ds.lora.target_modules")
    if not rank:
        return None
    known = linear_sizes(shape)
    if modules == ALL_LINEAR:
        return Adapters(rank, tuple(known))
    if unknown := [name for name in modules if name not in known]:
        place = recipe.where.get("ds.lora.target_modules", recipe.source)
        raise UserError(
            f"{place}: ds.lora.target_modules: {unknown[0]!r}: the estimate counts {', '.join(known)} alone"
        )
    return Adapters(rank, tuple(dict.fromkeys(modules)))
