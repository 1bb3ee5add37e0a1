"""LoRA: adapters are trained and checkpointed; engines and exports get merged weights under the model's own names.

OpenRLHF 0.11.2 trains peft's adapters, but sends every parameter to vLLM under peft's name, and exports the adapters
alone. A weight of the merged model is computed from the base and its adapter each time, in fp32, and rounded once: the
training's weights are only read. Source of the formula: Hu et al., arXiv 2106.09685, section 4.1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepspeed
import torch
from openrlhf.models import Actor
from openrlhf.utils.deepspeed.deepspeed import DeepspeedStrategy
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync
from peft import PeftModel
from peft.tuners.lora import Linear, LoraLayer
from peft.utils import transpose

from dipo_eval.errors import UserError

# Folder of an export. Beside the merged weights, transformers would apply the adapter a second time.
ADAPTER = "adapter"
_OF_ADAPTER = ".lora_"  # in the names of an adapter's parameters: peft/tuners/lora/model.py, LoraModel.prefix
_BASE = ".base_layer"


def merged_parameters(model: PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of each parameter of the model with its adapters merged, one at a time, as the base model names it.

    With ZeRO 3 each is gathered for as long as the caller handles it: every rank has to iterate, and to the end. Tensors
    of layers without adapter are the training's own. Tied weights come once.
    """
    base = model.get_base_model()
    layers: dict[str, Any] = {
        name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)
    }
    for name, parameter in base.named_parameters():
        if _OF_ADAPTER in name:
            continue
        owner, _, kind = name.rpartition(".")
        layer = layers.get(owner.removesuffix(_BASE)) if kind == "weight" else None
        read = [parameter] if layer is None else [parameter, *_a_and_b(layer)]
        with torch.no_grad(), deepspeed.zero.GatheredParameters(read, enabled=_is_partitioned(parameter)):
            yield name.replace(f"{_BASE}.", "."), parameter.data if layer is None else merged_weight(layer)


def merged_weight(layer: Any) -> torch.Tensor:
    """base + scaling * B @ A of one of peft's Linear layers in fp32, rounded to the base's type."""
    base: torch.Tensor = layer.get_base_layer().weight.detach()
    a, b = (matrix.detach().float() for matrix in _a_and_b(layer))
    (scaling,) = layer.scaling.values()
    return torch.add(base.float(), transpose(b @ a, layer.fan_in_fan_out), alpha=scaling).to(base.dtype)


def _a_and_b(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """Of the one adapter that OpenRLHF makes."""
    (a,), (b,) = layer.lora_A.values(), layer.lora_B.values()
    return a.weight, b.weight


def _is_partitioned(parameter: torch.Tensor) -> bool:
    return hasattr(parameter, "ds_id")


def check_mergeable(actor: Actor) -> None:
    """Raise UserError for adapters that merged_weight does not cover."""
    if getattr(actor, "is_vlm", False):
        raise UserError("ds.lora.rank: LoRA of a model with images is not supported here: set it to 0")
    for name, module in actor.model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer):
            continue
        base: Any = module.get_base_layer()
        plain = type(module) is Linear and not module.lora_variant and not any(module.lora_bias.values())
        if not plain or not base.weight.is_floating_point():
            raise UserError(
                f"ds.lora.target_modules: {name} is no plain linear layer, and its adapter cannot be merged: leave it out"
            )


def _take_type_of_base(model: PeftModel) -> None:
    """peft makes adapters in fp32. DeepSpeed, which keeps an fp32 copy of what it trains, turns them to the model's type
    in ZeRO 1 and 2; in ZeRO 3 it does not, and each layer would copy its input to fp32.
    """
    dtype = next(parameter.dtype for parameter in model.parameters() if not parameter.requires_grad)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


class LoraStrategy(DeepspeedStrategy):
    """OpenRLHF's strategy for an actor with adapters: what its checkpoints and its exports hold."""

    def _ds_init_train_model(self, model: Any, cfg: dict[str, Any]) -> tuple[Any, Any, Any]:
        check_mergeable(model)
        _take_type_of_base(model.model)
        prepared = super()._ds_init_train_model(model, cfg)
        checkpoint_adapters_alone(model.model)
        return prepared

    def save_model(self, model: Any, tokenizer: Any, output_dir: str, **kwargs: Any) -> None:
        """The merged model, which transformers, vLLM and the evaluation load, and the adapter in peft's form within."""
        peft_model, first = self._unwrap_model(model), self.is_rank_0()
        merged, adapter = {}, {}
        for name, tensor in merged_parameters(peft_model):
            if first:
                merged[name] = tensor.to("cpu", copy=True)
        for name, parameter in peft_model.named_parameters():
            if parameter.requires_grad:
                with deepspeed.zero.GatheredParameters([parameter], enabled=_is_partitioned(parameter)):
                    if first:
                        adapter[name] = parameter.detach().to("cpu", copy=True)
        if first:
            folder, base = Path(output_dir), peft_model.get_base_model()
            base.save_pretrained(folder, state_dict=merged, **kwargs)
            tokenizer.save_pretrained(folder)
            # Embeddings have no adapters; by default peft would ask the hub whether the base has the same.
            peft_model.save_pretrained(folder / ADAPTER, state_dict=adapter, save_embedding_layers=False)
        torch_dist_barrier_and_cuda_sync()


def checkpoint_adapters_alone(engine: Any) -> None:
    """Leave the base, which never changes and is loaded from actor.model_name_or_path, out of DeepSpeed's checkpoints.

    DeepSpeed's own exclude_frozen_parameters would keep the second name of a tied embedding.
    """
    whole = engine.module_state_dict

    def adapters(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in whole(*args, **kwargs).items() if _OF_ADAPTER in name}

    engine.module_state_dict = adapters
    engine.save_checkpoint = functools.partial(engine.save_checkpoint, exclude_frozen_parameters=True)
    engine.load_checkpoint = functools.partial(engine.load_checkpoint, custom_load_fn=_load_adapters)


def _load_adapters(src: dict[str, Any], dst: torch.nn.Module) -> None:
    """Of DeepSpeed's load_checkpoint. Raises RuntimeError unless the adapters are exactly those of the model."""
    found = dst.load_state_dict(src, strict=False)
    missing = [name for name in found.missing_keys if _OF_ADAPTER in name]
    if missing or found.unexpected_keys:
        raise RuntimeError(f"the checkpoint holds other adapters: {[*missing, *found.unexpected_keys][:3]}")
