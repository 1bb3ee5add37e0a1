"""What a recipe with LoRA may not have, each refused in one line before anything starts."""

from __future__ import annotations

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_parser

RECIPE = """\
run: {device: cpu}
actor.model_name_or_path: some/model
data.prompt_dataset: some/data
rollout: {batch_size: 8, n_samples_per_prompt: 4}
train: {batch_size: 32}
"""


def load(tmp_path, *lines: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + "\n".join(lines) + "\n")
    return load_recipe(str(path))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["ds.lora.rank: -1"], ["ds.lora.rank", "must be at least 0: 0 is full fine-tuning"]),
        (["ds.lora.alpha: 32"], ["recipe.yaml:6: ds.lora.alpha", "set ds.lora.rank"]),
        (["ds.lora.target_modules: [q_proj]"], ["ds.lora.target_modules", "does nothing"]),
        (["ds.lora.rank: 0", "ds.lora.dropout: 0.1"], ["ds.lora.dropout", "does nothing"]),
        (["ds.lora.rank: 4", "ds.lora.alpha: 0"], ["ds.lora.alpha", "above 0"]),
        (["ds.lora.rank: 4", "ds.lora.dropout: 1.0"], ["ds.lora.dropout", "below 1"]),
        (["ds.lora.rank: 4", "ds.lora.target_modules: all-linear"], ["['all-linear']", "leave it out"]),
        (["ds.lora.rank: 4", "ds.lora.target_modules: []"], ["ds.lora.target_modules", "such as q_proj"]),
        (["ds.lora.rank: 4", "ds.lora.target_modules: [q_proj, lm_head]"], ["lm_head", "embeddings"]),
        (["ds.lora.rank: 4", "ds.lora.target_modules: [model.embed_tokens]"], ["embeddings"]),
        (["ds.lora.rank: 4", "ds.tensor_parallel_size: 2", "actor.num_gpus_per_node: 2"], ["tensor_parallel"]),
        (["ds.lora.rank: 4", "ds.use_universal_ckpt: true"], ["ds.use_universal_ckpt", "adapters alone"]),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line(tmp_path, lines, words):
    with pytest.raises(UserError) as caught:
        load(tmp_path, *lines)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_openrlhf_gets_its_own_switches(tmp_path):
    lines = ["ds.lora: {rank: 4, alpha: 8, dropout: 0.1, target_modules: [q_proj, down_proj]}"]
    argv = ["bf16" if token == "fp32" else token for token in load(tmp_path, *lines).argv()]
    parsed = vars(openrlhf_parser().parse_args(argv))
    assert [parsed[f"ds.lora.{name}"] for name in ("rank", "alpha", "dropout", "target_modules")] == [
        4, 8, 0.1, ["q_proj", "down_proj"],
    ]  # fmt: skip
    plain = vars(openrlhf_parser().parse_args([]))
    assert plain["ds.lora.target_modules"] == "all-linear"
