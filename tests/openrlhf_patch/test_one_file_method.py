"""A method that is one short file of a user's: each of its switches is honoured wherever it applies."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import DipoConfig, methods, reference
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.openrlhf_patch.experiences import to_token_groups
from dipo_openrlhf.openrlhf_patch.refill import refills
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "algorithm"))

from test_experience_maker import GROUP, batch, by_row, maker, separated
from test_reference_trainer import PROMPTS, never_correct_first, settings, tiny_model

NAME = "my_method"
FILE = Path(__file__).parents[1] / "algorithm" / f"{NAME}.py"
RECIPE = """\
run: {device: cpu}
actor: {model_name_or_path: some/model}
data: {prompt_dataset: some/data}
rollout: {batch_size: 8, n_samples_per_prompt: 4}
train: {batch_size: 32}
dipo: {method: my_method}
"""


@pytest.fixture(autouse=True)
def dropped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file stands in a folder that is searched for methods."""
    shutil.copy(FILE, tmp_path)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    yield
    sys.modules.pop(f"{methods.__name__}.{NAME}", None)


def recipe(tmp_path: Path, *arguments: str) -> object:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(str(path), parse_overrides(list(arguments)))


def test_it_is_short() -> None:
    assert len(FILE.read_text().splitlines()) < 40
    assert DipoConfig(method=NAME).method in methods.names()


def test_the_reference_trainer_honours_each_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, loss = [], reference.surrogate
    monkeypatch.setattr(reference, "surrogate", lambda *given: losses.append(given) or loss(*given))
    weights, weigh = [], reference.token_weights
    monkeypatch.setattr(reference, "token_weights", lambda *given: weights.append(given[1:]) or weigh(*given))
    config = settings(dipo={"method": NAME}, steps=2)
    logs = list(reference.train(tiny_model(), PROMPTS, never_correct_first, config))
    assert logs[0]["sampled_responses"] > 4 * GROUP  # dynamic sampling: prompt 0 was replaced
    assert weights[0] == ("constant", config.max_new_tokens)
    advantages, kept, *clips = losses[0][2:]
    assert clips == [0.1, 0.3]
    spread = [
        float(row[has > 0].std()) for row, has in zip(advantages, kept, strict=True) if (has > 0).sum() > 1
    ]
    assert max(spread) > 0  # token entropies


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_experience_maker_honours_entropy(shuffle: bool) -> None:
    scores, log_ppl = separated()
    experiences = batch(scores, log_ppl, shuffle=shuffle)
    generator = torch.Generator().manual_seed(3)
    entropies = [torch.rand(e.action_mask.shape, generator=generator) for e in experiences]
    order = torch.tensor(list(itertools.chain.from_iterable(e.index for e in experiences)))
    mask = to_token_groups([e.action_mask for e in experiences], order, GROUP)
    rollout = Rollout(scores, scores == 1, mask, log_ppl, to_token_groups(entropies, order, GROUP))
    subject = maker(DipoConfig(method=NAME))
    subject.entropies = list(entropies)
    found = by_row(subject.compute_advantages_and_returns(experiences), "advantages")
    expected = methods.get(NAME).advantages(rollout).reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match="my_method: the actor returned no token entropies"):
        maker(DipoConfig(method=NAME)).compute_advantages_and_returns(batch(scores, log_ppl))


def test_the_recipe_takes_its_arguments_from_the_file(tmp_path: Path) -> None:
    found = recipe(tmp_path)
    assert found.get("actor.eps_clip_low_high") == [0.1, 0.3]
    assert found.get("actor.loss_agg_mode") == "token-mean"
    assert found.get("algo.advantage.estimator") == "group_norm"
    assert refills(found.dipo)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rollout.batch_size", "16"), "exact only where a rollout batch is one optimizer step"),
        (("--actor.loss_agg_mode", "seq-mean-token-mean"), "exact with actor.loss_agg_mode token-mean alone"),
        (("--algo.dynamic_filtering_enable", "true"), "my_method samples dynamically by itself"),
        (("--rollout.vllm_generate_batch_size", "16", "--train.async_enable", "true"), "my_method asks for"),
        (("--dipo.keep_and_refill", "true"), "is a switch of DiPO; the method is my_method"),
        (("--reward.clip_range", "-1", "1"), "my_method computes its own advantages"),
    ],
)
def test_the_recipe_s_checks_read_the_switches(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        recipe(tmp_path, *arguments)
