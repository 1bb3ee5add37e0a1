"""Whether weights on disk are finite: a training that diverged writes NaN."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipo_eval.errors import UserError, one_line
from dipo_eval.subject.checkpoints import weights_names

if TYPE_CHECKING:
    import torch

# The square of a larger number is infinite in float32, and norm layers square activations.
_TOO_LARGE = 2.0**64
CHUNK = 1 << 24  # numbers checked at a time
# Other .bin files hold the arguments of a training, or its optimizer. An adapter of ZeRO 3 is a .bin file alone
# (OpenRLHF 0.11.2, openrlhf/utils/deepspeed/deepspeed.py, DeepspeedStrategy.save_model).
_WEIGHTS = ("model", "pytorch_model", "adapter_model")
_FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def first_not_finite(folder: Path) -> str | None:
    """Name and file of the first tensor with NaN, infinity or a number above 2**64, None where there is none.

    Files are mapped and checked tensor by tensor. Raises UserError for a file that cannot be read as weights, and for a
    folder without any tensor.
    """
    names, seen = weights_names(folder)[1:], 0
    for name in names:
        try:
            for tensor_name, tensor in _tensors(folder / name):
                seen += 1
                if not is_finite(tensor):
                    return f"{tensor_name} in {name}"
        except Exception as error:  # what torch and safetensors raise for a damaged file
            raise UserError(f"{folder / name}: cannot be read as weights ({one_line(error)})") from error
    if not seen:
        raise UserError(
            f"{folder}: no weights in {', '.join(names)[:200]}: tensors are read from *.safetensors and .bin "
            f"files named {', '.join(f'{name}*' for name in _WEIGHTS)}; name a folder that holds a model"
        )
    return None


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # no mapping
                yield name, file.get_tensor(name)
        return
    if not path.name.startswith(_WEIGHTS):
        return
    import torch

    content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(content, dict):
        yield from ((str(name), one) for name, one in content.items() if isinstance(one, torch.Tensor))


def is_finite(tensor: torch.Tensor) -> bool:
    """NaN fails every comparison, and aminmax returns it where there is one."""
    if str(tensor.dtype).removeprefix("torch.") not in _FLOATS:
        return True  # integers, and packed formats without NaN
    for chunk in tensor.flatten().split(CHUNK):
        if chunk.element_size() == 1:
            chunk = chunk.float()
        if chunk.numel():
            low, high = chunk.aminmax()
            if not (low.item() > -_TOO_LARGE and high.item() < _TOO_LARGE):
                return False
    return True
