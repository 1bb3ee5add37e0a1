"""The update of real models on windows: gradients are a padded window's, figures are the step's, for any number of ranks.

OpenRLHF's own ActorPPOTrainer, Actor and loss run, one thread a rank; only DeepSpeed is left out.
"""

from __future__ import annotations

import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openrlhf.trainer.ray.ppo_actor as ppo_actor
import pytest
import torch
from openrlhf.models import Actor, aggregate_loss
from openrlhf.models.utils import compute_approx_kl
from openrlhf.trainer.ppo_utils.experience import Experience
from transformers import Qwen3Config, Qwen3ForCausalLM

from dipo_openrlhf.openrlhf_patch import update
from dipo_openrlhf.openrlhf_patch.windows import WindowRules, make_windows

sys.path.insert(0, str(Path(__file__).parent))

from window_batches import order_of, samples, scored

GROUP, WINDOWS = 4, 2
LENGTHS = [1, 9, 30, 4, 17, 2, 26, 8, 3, 12, 5, 21, 6, 28, 2, 14] * 2
SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model")
    Qwen3ForCausalLM(Qwen3Config(**SIZES)).save_pretrained(path)
    return path


def arguments(loss: str = "token-mean", level: str = "off", dynamic: bool = True, **more: Any) -> Any:
    correction = {
        "is_correction_level": level, "is_correction_mode": "mask", "is_correction_gating": "ratio",
        "is_correction_threshold": [0.97, 1.03],
    }  # fmt: skip
    return SimpleNamespace(
        train=SimpleNamespace(
            max_epochs=1, dynamic_batch_enable=dynamic, colocate_all=False, async_enable=False, batch_size=16
        ),
        actor=SimpleNamespace(
            eps_clip_low_high=[0.2, 0.28], dual_clip=None, loss_agg_mode=loss, policy_loss_type="ppo",
            aux_loss_coef=0.0, entropy_coef=more.get("entropy_coef"),
        ),
        algo=SimpleNamespace(
            advantage=SimpleNamespace(**correction),
            kl=SimpleNamespace(
                use_loss=more.get("use_kl", False), init_coef=0.1, estimator="k3", unbiased_gradient=False
            ),
        ),
        ds=SimpleNamespace(packing_samples=dynamic, tensor_parallel_size=1),
        vllm=SimpleNamespace(sync_backend="gloo"),
    )  # fmt: skip


class Ranks:
    """Data-parallel ranks as threads: what they reduce is added up when all have come."""

    def __init__(self, count: int) -> None:
        self.count, self.barrier = count, threading.Barrier(count, timeout=120)
        self.given: list[Any] = [None] * count

    def mean(self, rank: int, data: dict[str, float]) -> dict[str, float]:
        self.given[rank] = data
        self.barrier.wait()
        found = {key: sum(each[key] for each in self.given) / self.count for key in data}
        self.barrier.wait()
        return found


class Strategy:
    """DeepSpeed's place: gradients of each window are recorded, and no weight moves."""

    ring_attn_group = None

    def __init__(self, args: Any, ranks: Ranks, rank: int, accumulated: int) -> None:
        self.args, self.ranks, self.rank = args, ranks, rank
        self.accumulated_gradient, self.backwards = accumulated, 0
        self.gradients: list[list[torch.Tensor]] = []

    def backward(self, loss: torch.Tensor, model: Actor, optimizer: Any) -> None:
        (loss / self.accumulated_gradient).backward()
        self.backwards += 1

    def optimizer_step(self, optimizer: Any, model: Actor, scheduler: Any, name: str) -> None:
        if self.backwards % self.accumulated_gradient == 0:
            self.gradients.append([p.grad.clone() for p in model.parameters()])
            model.zero_grad()

    def all_reduce(self, data: dict[str, float], op: str = "mean") -> dict[str, float]:
        return self.ranks.mean(self.rank, data)

    def get_grad_norm(self, model: Actor) -> float:
        return float(len(self.gradients))  # of the window trained last

    def is_rank_0(self) -> bool:
        return False


# transformers replaces functions of its own while it loads a model: of two loads at once one can put back the other's
# replacement, and the process would never tie weights again.
LOADING = threading.Lock()


def actor_of(folder: Path, packed: bool) -> Actor:
    attention = "flash_attention_2" if packed else "sdpa"
    with LOADING:
        return Actor(str(folder), attn_implementation=attention, param_dtype="fp32", packing_samples=packed)


def run(
    folder: Path, args: Any, ranks: int, idle: tuple[int, ...] = (), skip_idle: bool = False
) -> tuple[list[list[torch.Tensor]], dict[str, float], list[Experience]]:
    """(gradients of each window summed over ranks, the step's status, the batch in micro-batches)

    `idle`: groups without an advantage.
    """
    parts = batch_of(folder, args.algo.kl.use_loss)
    for part in parts:
        part.advantages[torch.tensor([row // GROUP in idle for row in part.index])] = 0
    rules = WindowRules(
        samples=args.train.batch_size,
        group_size=GROUP,
        ranks=ranks,
        max_tokens=70 if args.train.dynamic_batch_enable else None,
        token_mean=args.actor.loss_agg_mode == "token-mean",
        skip_idle=skip_idle,
    )
    groups = len(LENGTHS) // GROUP
    windows = make_windows(parts, order_of(parts), torch.ones(groups, dtype=torch.bool), rules, seed=1)
    together, micro = Ranks(ranks), 2

    def train(rank: int) -> tuple[list[list[torch.Tensor]], dict[str, float]]:
        accumulated = 1 if args.train.dynamic_batch_enable else args.train.batch_size // ranks // micro
        strategy = Strategy(args, together, rank, accumulated)
        actor = actor_of(folder, args.ds.packing_samples)
        actor.model.set_gradient_accumulation_boundary = lambda last: None  # of DeepSpeed's engine
        trainer = ppo_actor.ActorPPOTrainer(
            strategy, actor, None, None,
            SimpleNamespace(get_last_lr=lambda: [1e-6]), micro_train_batch_size=micro, dataloader_pin_memory=False,
        )  # fmt: skip
        for window in windows[rank * WINDOWS : (rank + 1) * WINDOWS]:
            trainer.replay_buffer.append(window)
        status = trainer.ppo_train(0.1)
        return strategy.gradients, status

    with ThreadPoolExecutor(ranks) as pool:
        results = list(pool.map(train, range(ranks)))
    # A process alone has dp_size 1, and its loss is not multiplied by the ranks over which DeepSpeed takes a mean.
    gradients = [
        [sum(parts) for parts in zip(*(found[number] for found, _ in results), strict=True)]
        for number in range(WINDOWS)
    ]
    composed = [
        sorted(int(row) for share in windows[number::WINDOWS] for row in share.info["row"].tolist())
        for number in range(WINDOWS)
    ]
    return gradients, results[0][1], [rows_of(parts, rows) for rows in composed]


def batch_of(folder: Path, with_reference: bool) -> list[Experience]:
    """A batch whose old log-probabilities are the model's own, a little off."""
    parts = scored(
        samples(LENGTHS), 5, torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(2))
    )
    actor, generator = actor_of(folder, packed=False), torch.Generator().manual_seed(4)
    for part in parts:
        with torch.no_grad():
            now = actor(part.sequences, part.action_mask, part.attention_mask)
        noise = torch.randn(now.shape, generator=generator)
        part.action_log_probs = (now + 0.3 * noise) * part.action_mask
        part.rollout_log_probs = part.action_log_probs + 0.03 * noise.flip(1) * part.action_mask
        if with_reference:
            part.base_action_log_probs = (now - 0.2 * noise) * part.action_mask
    return parts


def rows_of(parts: list[Experience], rows: list[int]) -> Experience:
    """A window's rows, padded."""
    whole = Experience.concat_experiences(parts, 0)
    places = [whole.index.index(row) for row in rows]
    return Experience(
        **{name: value[places] for name, value in vars(whole).items() if isinstance(value, torch.Tensor)}
    )


@pytest.fixture
def ours(monkeypatch):
    for name in ("ActorPPOTrainer", "NaiveReplayBuffer", "DataLoader"):
        monkeypatch.setattr(ppo_actor, name, getattr(ppo_actor, name))
    monkeypatch.setattr(ppo_actor, "torch_dist_barrier_and_cuda_sync", lambda: None)  # one process
    update.install()


def padded(folder: Path, args: Any, window: Experience) -> tuple[dict[str, float], list[torch.Tensor]]:
    """Figures and gradient of one window in one padded batch, by OpenRLHF's loss functions alone."""
    actor = actor_of(folder, packed=False).train()
    now, output = actor(
        window.sequences, window.action_mask, window.attention_mask, return_output=True, return_entropy=True
    )
    correction = vars(args.algo.advantage)
    loss_of = ppo_actor.PolicyLoss(
        0.2, 0.28, token_level_loss=args.actor.loss_agg_mode == "token-mean", **correction
    )
    loss, clipped, ppo_kl, vllm_kl, filtered = loss_of(
        now, window.action_log_probs, window.advantages, window.action_mask, window.rollout_log_probs
    )
    figures = {"policy_loss": loss, "ppo_clip_ratio": clipped, "ppo_kl": ppo_kl}
    if vllm_kl is not None:
        figures |= {"vllm_kl": vllm_kl, "is_filter_ratio": filtered}
    total = loss
    if args.algo.kl.use_loss:
        kl = compute_approx_kl(now, window.base_action_log_probs, kl_estimator="k3")
        figures["kl"] = aggregate_loss(kl, window.action_mask)
        total = total + 0.1 * figures["kl"]
    if args.actor.entropy_coef is not None:
        entropy = output.entropy[:, -window.action_mask.shape[1] :]
        figures["entropy_loss"] = aggregate_loss(entropy, window.action_mask)
        total = total - args.actor.entropy_coef * figures["entropy_loss"]
    total.backward()
    gradient = [p.grad for p in actor.parameters()]
    tokens = float(window.action_mask.sum())
    return {"tokens": tokens, **{name: float(value) for name, value in figures.items()}}, gradient


@pytest.mark.parametrize(
    ("ranks", "args"),
    [
        (1, arguments()),
        (2, arguments(level="token", entropy_coef=0.01)),
        (4, arguments(level="seq", use_kl=True)),
        (2, arguments(loss="seq-mean-token-mean")),
        (1, arguments(dynamic=False, level="token")),
        (1, arguments(dynamic=False, loss="seq-mean-token-mean", entropy_coef=0.0)),
    ],
    ids=["packed", "two ranks, entropy", "four ranks, kl", "response mean", "padded", "padded response mean"],
)
def test_gradients_and_figures_are_those_of_the_padded_windows(ours, folder, ranks, args):
    gradients, status, windows = run(folder, args, ranks)
    expected = [padded(folder, args, window) for window in windows]
    for found, (_, gradient) in zip(gradients, expected, strict=True):
        scale = max(float(g.abs().max()) for g in gradient)
        for ours_, theirs in zip(found, gradient, strict=True):
            torch.testing.assert_close(ours_, theirs, rtol=2e-4, atol=2e-5 * scale)
    figures = [each for each, _ in expected]
    tokens = [each["tokens"] for each in figures]
    by_step = {"policy_loss", "kl", "entropy_loss", "is_filter_ratio"}  # of samples; all others of tokens
    if args.algo.advantage.is_correction_level == "token":
        by_step.remove("is_filter_ratio")
    for name in figures[0].keys() - {"tokens"}:
        weights = [1.0] * len(figures) if name in by_step else tokens
        mean = sum(w * each[name] for w, each in zip(weights, figures, strict=True)) / sum(weights)
        assert status[name] == pytest.approx(mean, rel=1e-3, abs=1e-5), name
    assert status["actor_grad_norm"] == pytest.approx((1 + WINDOWS) / 2)  # the mean of 1, 2, ...
    assert status["row"] == pytest.approx(sum(range(len(LENGTHS))) / len(LENGTHS))


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("loss", ["token-mean", "seq-mean-token-mean"])
def test_the_logged_loss_is_the_same_without_idle_rows(ours, folder, ranks, loss):
    args, idle = arguments(loss=loss, level="token"), (0, 2, 3, 6, 7)
    full, fewer = (run(folder, args, ranks, idle, skip_idle) for skip_idle in (False, True))
    for whole, part in zip(full[0], fewer[0], strict=True):
        scale = max(float(gradient.abs().max()) for gradient in whole)
        for one, other in zip(whole, part, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5 * scale)
    assert fewer[1]["policy_loss"] == pytest.approx(full[1]["policy_loss"], rel=1e-3)
    assert full[1]["policy_loss"] != 0


def test_rows_without_a_token_break_no_figure(ours, folder, monkeypatch):
    """A micro-batch of them alone would log 0 / 0, which ends a run as diverged."""
    args = arguments(dynamic=False)
    monkeypatch.setattr(sys.modules[__name__], "LENGTHS", [0] * 12 + [1, 9, 30, 4] * 5)
    _, status, _ = run(folder, args, 1)
    assert all(math.isfinite(value) for value in status.values())


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("loss", ["token-mean", "seq-mean-token-mean"])
def test_a_batch_without_a_single_token_moves_nothing_and_breaks_nothing(
    ours, folder, monkeypatch, dynamic, loss
):
    """Such as the last of an episode, of one prompt, where the engine has returned nothing."""
    monkeypatch.setattr(sys.modules[__name__], "LENGTHS", [0] * 32)
    gradients, status, _ = run(folder, arguments(loss=loss, dynamic=dynamic), 1)
    assert all(math.isfinite(value) for value in status.values())
    assert all(not gradient.any() for window in gradients for gradient in window)
