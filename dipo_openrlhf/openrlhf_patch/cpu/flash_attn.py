"""Let OpenRLHF's models import without flash-attn, which needs CUDA.

openrlhf.models.ring_attn_utils imports five functions of flash-attn at the top, and every model imports that module; the
functions are called only with packed samples or ring attention, both refused on CPU. The stand-in is in `sys.modules` for
this one import and is removed afterwards, since transformers and vLLM probe for flash-attn to choose their kernels.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn

TARGET = "openrlhf.models.ring_attn_utils"
_NAMES = {
    "flash_attn": (),
    "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
    "flash_attn.utils": (),
    "flash_attn.utils.distributed": ("all_gather",),
}
FUNCTIONS = tuple(name for functions in _NAMES.values() for name in functions)


def _stand_ins() -> dict[str, ModuleType]:
    def refused(name: str) -> Callable[..., NoReturn]:
        def refuse(*args: object, **kwargs: object) -> NoReturn:
            raise RuntimeError(
                f"{name} needs flash-attn and a GPU: turn ds.packing_samples and ring attention off"
            )

        return refuse

    modules = {}
    for module_name, functions in _NAMES.items():
        modules[module_name] = ModuleType(module_name)
        vars(modules[module_name]).update({name: refused(f"{module_name}.{name}") for name in functions})
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
