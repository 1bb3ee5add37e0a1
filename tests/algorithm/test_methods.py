"""The methods: formulas by hand, and the registry."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from dipo_openrlhf.algorithm import DipoConfig, group_advantages, methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.algorithm.methods.cde import cde_rewards, staircase
from dipo_openrlhf.algorithm.methods.entropy_advantage import entropy_advantages
from dipo_openrlhf.algorithm.methods.rl_zvp import rl_zvp_advantages

NAMES = methods.names()  # at import: end-to-end tests beside this one may drop a file in


def test_the_registry_is_the_folder() -> None:
    files = sorted(path.stem for path in Path(methods.__file__).parent.glob("[a-z]*.py"))
    assert list(methods.names()) == files
    assert set(NAMES) >= {"cde", "dapo", "dipo", "dr_grpo", "entropy_advantage", "grpo", "rl_zvp"}
    assert [methods.get(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(ValueError, match="did you mean 'rl_zvp'"):
        methods.get("rl-zvp")


def test_one_file_adds_one_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(methods.__file__).with_name("grpo.py").read_text().replace('name="grpo"', 'name="mine"')
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "_helper.py").write_text("")
    before = methods.names()
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert methods.names() == tuple(sorted((*before, "mine")))
    assert methods.get("mine").name == "mine"
    assert DipoConfig(method="mine").method == "mine"


def test_clips_and_losses_are_those_of_the_papers() -> None:
    found = {
        name: (b.clip_low, b.clip_high, b.reduction, b.dynamic_sampling)
        for name, b in ((name, methods.get(name)) for name in NAMES)
    }
    assert found["grpo"] == (0.2, 0.2, "response_mean", False)
    assert found["dr_grpo"] == (0.2, 0.2, "constant", False)
    assert found["dapo"] == (0.2, 0.28, "token_mean", True)
    assert found["dipo"] == (0.2, 0.28, "token_mean", False)
    assert [name for name in NAMES if methods.get(name).reallocates] == ["dipo"]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_gives_token_advantages_on_action_tokens_alone(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(3, 4, 5, generator=generator) < 0.7
    mask[..., 0] = True
    rewards = torch.tensor([[-1.0, 1, -1, 1], [1, 1, 1, 1], [-1, -1, -1, -1]])
    entropy = torch.rand(3, 4, 5, generator=generator)
    log_ppl = torch.rand(3, 4, generator=generator)
    rollout = Rollout(rewards, rewards > 0, mask, log_ppl, entropy, 0.0, torch.zeros(3, 4))
    found = methods.get(name).advantages(rollout)
    assert found.shape == (3, 4, 5)
    assert (found[~mask] == 0).all()
    assert (found[0][mask[0]] != 0).all()
    assert torch.isfinite(found).all()


def test_a_missing_entropy_is_an_error() -> None:
    rollout = Rollout(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2, 3), torch.ones(1, 2))
    for name in NAMES:
        if methods.get(name).needs_entropy:
            with pytest.raises(ValueError, match="token_entropy_PGA is missing"):
                methods.get(name).advantages(rollout)


def test_group_relative_ones_by_hand() -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.7, 0.7, 0.7, 0.7]])
    mask, log_ppl = torch.ones(2, 4, 1), torch.zeros(2, 4)
    added = torch.tensor([[0.0] * 4, [0.1, -0.3, 0.1, 0.1]])
    rollout = Rollout(rewards, rewards == 1, mask, log_ppl, reallocated_PG=added)
    for name in ("grpo", "dapo"):
        found = methods.get(name).advantages(rollout).squeeze(-1)
        assert found[0].tolist() == pytest.approx([-0.5, -0.5, -0.5, 1.5])
        assert found[1].tolist() == [0, 0, 0, 0]
    dipo = methods.get("dipo").advantages(rollout).squeeze(-1)
    assert torch.equal(dipo, torch.stack([found[0], added[1]]))
    dr_grpo = methods.get("dr_grpo").advantages(rollout).squeeze(-1)
    assert dr_grpo.tolist() == [[-0.25, -0.25, -0.25, 0.75], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match="reallocated_PG is missing"):
        methods.get("dipo").advantages(Rollout(rewards, rewards == 1, mask, log_ppl))


def test_rl_zvp_by_hand() -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    entropy = torch.tensor([[0.5, 2.0, 9.0], [1.0, 0.25, 0.75]]).expand(3, 2, 3)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).expand(3, 2, 3)
    found = rl_zvp_advantages(rewards, rewards == 1, entropy, mask, alpha=0.1)
    # the masked 9.0 is neither a gain nor the maximum
    assert found[0].flatten().tolist() == pytest.approx([0.05, 0.2, 0, 0.1, 0.025, 0.075])
    assert found[1].flatten().tolist() == pytest.approx([-0.15, 0, 0, 0, -0.075, -0.025])
    root = 1 / math.sqrt(2)
    assert found[2].flatten().tolist() == pytest.approx([-root, -root, 0, root, root, root])


def test_rl_zvp_takes_correctness_from_the_grader_and_not_from_the_reward() -> None:
    entropy, mask = torch.tensor([[[1.0, 0.0]] * 2]), torch.ones(1, 2, 2)
    penalised = torch.full((1, 2), -0.5)  # both correct, both overlong
    found = rl_zvp_advantages(penalised, torch.tensor([[True, True]]), entropy, mask)
    assert found.flatten().tolist() == pytest.approx([0.1, 0, 0.1, 0])
    found = rl_zvp_advantages(penalised, torch.tensor([[False, False]]), entropy, mask)
    assert found.flatten().tolist() == pytest.approx([0, -0.1, 0, -0.1])
    found = rl_zvp_advantages(penalised, torch.tensor([[True, False]]), entropy, mask)
    assert found.flatten().tolist() == [0, 0, 0, 0]


def test_cde_by_hand() -> None:
    rewards = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    log_ppl = torch.tensor([[0.1, 2.0, 0.2, math.nan]])
    found = cde_rewards(rewards, log_ppl)
    assert found.flatten().tolist() == pytest.approx([1.1, 1 + 1 / 3, -0.8, -1.0])
    assert cde_rewards(rewards, log_ppl, weight=0.0).tolist() == rewards.tolist()
    rollout = Rollout(rewards, rewards == 1, torch.ones(1, 4, 1), log_ppl, progress=0.5)
    shaped = cde_rewards(rewards, log_ppl, 0.5)
    assert torch.equal(methods.get("cde").advantages(rollout).squeeze(-1), group_advantages(shaped))
    with pytest.raises(ValueError, match="must be -1 or \\+1"):
        cde_rewards(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))


def test_staircase() -> None:
    assert [staircase(x) for x in (0.0, 0.24, 0.25, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.75, 0.5, 0.25, 0.25]
    with pytest.raises(ValueError, match="progress"):
        staircase(1.5)


def test_entropy_advantage_by_hand() -> None:
    advantages = torch.tensor([[1.0, -1.0, 0.0]])
    entropy = torch.tensor([[[0.5, 9.0], [0.5, 9.0], [0.5, 9.0]]])
    found = entropy_advantages(advantages, entropy, torch.ones(1, 3, 2))
    # min(0.4 * H, |A| / 2): 0.2 and 0.5; never past zero, and nothing where A = 0
    assert found.flatten().tolist() == pytest.approx([1.2, 1.5, -0.8, -0.5, 0, 0])
    with pytest.raises(ValueError, match="kappa"):
        entropy_advantages(advantages, entropy, torch.ones(1, 3, 2), kappa=1.0)


def test_entropy_is_detached() -> None:
    entropy = torch.rand(1, 2, 3, requires_grad=True)
    rewards = torch.tensor([[1.0, 1.0]])
    assert not rl_zvp_advantages(rewards, rewards == 1, entropy, torch.ones(1, 2, 3)).requires_grad
    assert not entropy_advantages(rewards, entropy, torch.ones(1, 2, 3)).requires_grad


def test_shape_errors() -> None:
    with pytest.raises(ValueError, match="rl_zvp"):
        rl_zvp_advantages(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 3, 4), torch.ones(1, 3, 4))
    with pytest.raises(ValueError, match="entropy_advantage"):
        entropy_advantages(torch.ones(1, 2), torch.ones(1, 2, 4), torch.ones(1, 2, 5))
    with pytest.raises(ValueError, match="cde"):
        cde_rewards(torch.ones(1, 2), torch.ones(1, 3))
