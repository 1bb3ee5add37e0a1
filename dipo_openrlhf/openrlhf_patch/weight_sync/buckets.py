"""Named tensors packed into flat buckets, and the views that a bucket holds. Runs on any device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from dipo_openrlhf.recipe.schema import BUCKET_BYTES


class Layout(NamedTuple):
    """What a bucket holds, in order; sent with each one."""

    names: list[str]
    shapes: list[tuple[int, ...]]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)


def pack(
    weights: Iterable[tuple[str, torch.Tensor]],
    device: torch.device | str | int,
    bucket_bytes: int = BUCKET_BYTES,
) -> Iterator[tuple[Layout, torch.Tensor]]:
    """Buckets of consecutive tensors of one type: (layout, flat tensor of its elements on `device`).

    A tensor of `weights` may be released once the next one is requested. Each bucket is memory of its own, which is free
    again when the caller drops it.
    """
    layout, flat, used = Layout([], [], torch.float32), torch.empty(0), 0
    for name, tensor in weights:
        size = tensor.numel()
        if layout.names and (tensor.dtype != flat.dtype or used + size > flat.numel()):
            yield layout, flat[:used]
            layout, flat = Layout([], [], tensor.dtype), flat[:0].clone()
        if not layout.names:
            layout, used = Layout([], [], tensor.dtype), 0
            room = max(size, bucket_bytes // tensor.element_size())
            flat = torch.empty(room, dtype=tensor.dtype, device=device)
        flat[used : used + size].copy_(tensor.detach().reshape(-1))
        layout.names.append(name)
        layout.shapes.append(tuple(tensor.shape))
        used += size
    if layout.names:
        yield layout, flat[:used]


def views(layout: Layout, flat: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """The named tensors of a bucket; they share its memory."""
    parts: Sequence[torch.Tensor] = flat.split([math.prod(shape) for shape in layout.shapes])
    return [
        (name, part.view(shape)) for name, shape, part in zip(layout.names, layout.shapes, parts, strict=True)
    ]
