"""Let OpenRLHF's models import without flash-attn, which needs CUDA.

openrlhf.models.ring_attn_utils imports five functions of flash-attn at the top, and every model imports that module.
They are those of attention.py and of transformers; the one of ring attention, which is refused on CPU, raises. The
stand-in is in `sys.modules` for this one import and is removed afterwards, since transformers and vLLM probe for
flash-attn to choose their kernels.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

TARGET = "openrlhf.models.ring_attn_utils"
FUNCTIONS = ("index_first_axis", "pad_input", "rearrange", "unpad_input", "all_gather")


def _all_gather(*args: object, **kwargs: object) -> NoReturn:
    raise RuntimeError("ring attention needs flash-attn and a GPU: set ds.ring_attn_size: 1")


def _stand_ins() -> dict[str, ModuleType]:
    from einops import rearrange
    from transformers.modeling_flash_attention_utils import _pad_input, _unpad_input

    from dipo_openrlhf.openrlhf_patch.cpu.attention import index_first_axis

    functions: dict[str, dict[str, Any]] = {
        "flash_attn": {},
        "flash_attn.bert_padding": {
            "index_first_axis": index_first_axis,
            "pad_input": _pad_input,
            "rearrange": rearrange,
            "unpad_input": _unpad_input,
        },
        "flash_attn.utils": {},
        "flash_attn.utils.distributed": {"all_gather": _all_gather},
    }
    modules = {name: ModuleType(name) for name in functions}
    for name, module in modules.items():
        vars(module).update(functions[name])
    return modules


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TARGET alone, with a loader that runs it with the stand-in present."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                modules = _stand_ins()
                sys.modules.update(modules)
                try:
                    run(module)
                finally:
                    for name in modules:
                        sys.modules.pop(name, None)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register the import hook once in this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
