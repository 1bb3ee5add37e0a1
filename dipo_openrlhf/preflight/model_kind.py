"""Whether a model's config.json describes a language model that can be trained, and the weights beside it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from dipo_eval.errors import short_repr

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight")  # of the text, in every architecture that has one of them


def kind_problem(config: dict[str, Any]) -> str:
    """Why nothing can be trained from such a config.json, as a text that follows the model's name; empty otherwise."""
    from transformers import __version__
    from transformers.models.auto import configuration_auto, modeling_auto

    kind, own_code = config.get("model_type"), config.get("auto_map")
    if not own_code and kind not in configuration_auto.CONFIG_MAPPING_NAMES:
        return (
            f"model_type in its config.json is {short_repr(kind, 40)}, which transformers {__version__} does not know: "
            "get the model again, or one of another kind"
        )
    names = config.get("architectures")
    texts = {
        name
        for table in (
            modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        )
        for one in table.values()
        for name in ([one] if isinstance(one, str) else one)
    }
    if not own_code and isinstance(names, list) and names and not texts & set(map(str, names)):
        return (
            f"is a {short_repr(names[0], 60)}, and no language model (...ForCausalLM), which training needs"
        )
    packed = config.get("quantization_config")
    if packed:
        method = packed.get("quant_method") if isinstance(packed, dict) else packed
        return f"has quantized weights ({short_repr(method, 30)}): training needs the model that they were made of"
    return ""


def is_cut_archive(path: Path) -> bool:
    """Whether a file of torch's begins as an archive and has not its end."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path)


def shape_problem(header: dict[str, Any], config: dict[str, Any]) -> str:
    """Of weights that are not those of the config.json beside them; `header`: of a safetensors file."""
    text = config.get("text_config")
    wanted = text if isinstance(text, dict) else config
    sizes = [wanted.get("vocab_size"), wanted.get("hidden_size") or wanted.get("n_embd")]
    for name, tensor in header.items():
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if not name.endswith(_EMBEDDINGS) or "vis" in name or not isinstance(shape, list) or len(shape) != 2:
            continue
        if any(isinstance(size, int) and size != found for size, found in zip(sizes, shape, strict=True)):
            return f"has embeddings of {shape[0]} x {shape[1]}, its config.json says {sizes[0]} x {sizes[1]}"
    return ""
