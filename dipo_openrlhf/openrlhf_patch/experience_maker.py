"""Where a method enters OpenRLHF: the step between rollouts and the update.

OpenRLHF's reward shaping, group normalization and return come first (`super()`); then DiPO's reallocated advantages are
added, or the method's own token advantages replace them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import (
    DipoConfig,
    PerplexityQueue,
    ReallocationResult,
    check_disjoint,
    correctness,
    methods,
    reallocation_advantages,
    sequence_log_ppl,
)
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.openrlhf_patch.actor import ScoredActions
from dipo_openrlhf.openrlhf_patch.engine import seed_of
from dipo_openrlhf.openrlhf_patch.experiences import (
    cumulative_returns,
    doubtful_share,
    dump_experiences,
    rollout_log_probs,
    sample_means,
    to_groups,
    to_token_groups,
    vllm_kl,
    with_rows,
)
from dipo_openrlhf.openrlhf_patch.partition import choose
from dipo_openrlhf.openrlhf_patch.windows import (
    PADDING,
    Window,
    WindowRules,
    make_windows,
    one_for_each_rank,
    policy_loss_alone,
    split_by_tokens,
    split_evenly,
)
from dipo_openrlhf.recipe.schema import DEFAULT_MAX_UNDECIDED_RATE
from dipo_openrlhf.record.run_log import Rollouts
from dipo_openrlhf.rewards.verifier_health import verifier_rates


class DiPOExperienceMaker(RemoteExperienceMaker):
    """OpenRLHF's experience maker with the advantages of `dipo.method`.

    Attributes:
        queue: perplexity queue, part of the training state.
        progress: share of training done, in [0, 1]; the trainer sets it before every step.
        metrics: what the last batch logged (docs/metrics.md).
        rollouts: the last batch, for the rollout log.
        step: number of the step that the next batch trains, from 1; the order of its groups follows from it.
        place: of the learning rate's schedule before that step; None: where its updates have brought it.
        dump_to: the run's folder, where the next batch is to be dumped, or None.
        entropies: [B, A] of each experience of the next batch, where the method needs them.
        skip_idle: whether samples without a gradient are left out of the update.
        off_policy: whether the actor is updated after a batch was generated, so that perplexities are computed from the
            rollout's log-probabilities; the asynchronous trainer sets it.
    """

    def __init__(
        self,
        *args: Any,
        dipo_config: DipoConfig,
        max_undecided_rate: float = DEFAULT_MAX_UNDECIDED_RATE,
        skip_idle: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.max_undecided_rate = max_undecided_rate
        self.skip_idle = skip_idle
        self.method = methods.get(dipo_config.method)
        # Other methods log DiPO's view of their groups too, but get nothing added.
        self.dipo_config = dipo_config.for_method(self.method)
        self.queue = PerplexityQueue(batches=dipo_config.queue_batches)
        self.progress = 0.0
        self.metrics: dict[str, Any] = {}
        self.rollouts: Rollouts | None = None
        self.step = 1
        self.place: int | None = None
        self.dump_to: Path | None = None
        self.off_policy = False
        self._order_B = torch.zeros(0, dtype=torch.long)
        self._kept_P = torch.zeros(0, dtype=torch.bool)
        self.entropies: list[torch.Tensor] = []

    def split_rollout_samples(self, rollout_samples: list[Experience]) -> list[Experience]:
        """As OpenRLHF's, with the same number of micro-batches for every rank: under ZeRO-3 another number would hang."""
        _check_scores(rollout_samples)
        for row, sample in enumerate(rollout_samples):
            sample.index = [row]
        rollout_samples = one_for_each_rank(rollout_samples, self._ranks())
        rollout, pad = self.args.rollout, self.tokenizer.pad_token_id
        if self.args.train.dynamic_batch_enable:
            per_sample = self.args.ds.ring_attn_size * self.args.ds.tensor_parallel_size
            limit = rollout.max_tokens_per_gpu * per_sample
            return split_by_tokens(rollout_samples, limit, self._ranks(), pad)
        return split_evenly(rollout_samples, rollout.micro_batch_size, self._ranks(), pad)

    def make_experience_batch(self, rollout_samples: list[Experience]) -> list[Window]:
        """The batch as complete optimizer windows of whole groups (windows.py), a rank's after the other's."""
        experiences = super().make_experience_batch(rollout_samples)
        if self.dump_to is not None:
            dump_experiences(self.dump_to, self.step, experiences)
        self._check_sync(experiences)
        kept_P, rules = self._kept_P, self._window_rules()
        seed = seed_of("windows", self.args.train.seed, self.step)
        windows = make_windows(experiences, self._order_B, kept_P, rules, seed)
        for window in windows:
            window.place = self.place
        kept = int(kept_P.sum()) * rules.group_size
        padding = sum(window.padding for window in windows)
        real = sum(len(window.sequences) for window in windows) - padding
        if real != len(kept_P) * rules.group_size or padding:
            self.metrics = {**sample_means(experiences), **self.metrics}
        if kept != len(kept_P) * rules.group_size or kept % rules.samples:
            self.metrics["dipo/trained_samples"] = float(kept)
            self.metrics["dipo/padding_samples"] = float(padding)
        if rules.skip_idle:
            self.metrics["dipo/skipped_samples"] = float(kept - real)
        return windows

    def _window_rules(self) -> WindowRules:
        args, actor = self.args, self.args.actor
        per_sample = args.ds.ring_attn_size * args.ds.tensor_parallel_size
        dynamic, constant = args.train.dynamic_batch_enable, self.method.reduction == "constant"
        limit = args.rollout.max_new_tokens or args.data.max_len
        if (
            args.train.agent_func_path
        ):  # rollout.max_new_tokens limits a message, of which a sample has several
            limit = args.data.max_len
        return WindowRules(
            samples=args.train.batch_size,
            group_size=self._group_size,
            ranks=self._ranks(),
            max_tokens=args.train.max_tokens_per_gpu * per_sample if dynamic else None,
            token_mean=actor.loss_agg_mode == "token-mean" and actor.policy_loss_type != "gspo",
            constant=limit if constant else None,
            skip_idle=self.skip_idle and policy_loss_alone(self.args),
        )

    def get_cumulative_returns(
        self, rewards: torch.Tensor, action_mask: torch.Tensor, gamma: float
    ) -> torch.Tensor:
        """OpenRLHF's to the bit, without its loop over tokens where nothing is discounted."""
        if gamma != 1.0:
            return super().get_cumulative_returns(rewards, action_mask, gamma)
        return cumulative_returns(rewards, action_mask)

    def _check_sync(self, experiences: list[Experience]) -> None:
        """Log vllm_kl. Without a correction that uses them, the engine's log-probabilities end here: the update sees what
        it sees without them.
        """
        if (divergence := vllm_kl(experiences)) is not None:
            self.metrics["vllm_kl"] = divergence
        if self.args.algo.advantage.is_correction_level == "off":
            for experience in experiences:
                experience.rollout_log_probs = None

    def _flatten_results(self, refs: Any, duplicate_factor: int) -> list[Any]:
        """Splits the entropies from the output of EntropyPolicyActor.forward."""
        results = super()._flatten_results(refs, duplicate_factor)
        if not results or not isinstance(results[0], ScoredActions):
            return results
        self.entropies = [result.entropy for result in results]
        return [result.log_probs for result in results]

    @torch.no_grad()
    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """Advantages [B, A] of the method, with exact zeros where a zero-variance group trains nothing.

        Raises:
            RuntimeError: no score for a sample (the reward failed), or both advantage streams of a sample are
                non-zero, which the algorithm excludes.
            UserError: scores on another scale than dipo.correct_from says, or the grader left more than
                `max_undecided_rate` of the samples undecided.
        """
        _check_scores(experiences)
        real = [place for place, experience in enumerate(experiences) if experience.index != [PADDING]]
        if len(real) < len(experiences):
            self.entropies = [self.entropies[place] for place in real] if self.entropies else []
            experiences = [experiences[place] for place in real]
        # Before super(): length penalties change rewards in place, never scores.
        scores_B = [experience.scores.clone() for experience in experiences]
        entropies, self.entropies = self.entropies, []

        experiences = super().compute_advantages_and_returns(experiences)

        started = time.perf_counter()
        order_B = torch.tensor(list(itertools.chain.from_iterable(e.index for e in experiences)))
        result = self._reallocate(experiences, scores_B, order_B)
        if self.method.uses_openrlhf_advantages:
            self._add(experiences, order_B, result)
        else:
            self._replace(experiences, order_B, result, entropies)
        self._order_B, self._kept_P = order_B, self._kept_groups(result).cpu()
        self.metrics["dipo/seconds"] = time.perf_counter() - started
        self._check_verifier(experiences)
        return experiences

    def _check_verifier(self, experiences: list[Experience]) -> None:
        """Log the grader's share of undecided samples. Raises UserError where it is too high to train on."""
        names = {name for e in experiences for name in e.info if name.startswith("verifier/")}
        logs = {
            name: torch.cat(
                [torch.as_tensor(e.info[name]).reshape(-1) for e in experiences if name in e.info]
            )
            for name in names
        }
        rates = verifier_rates(logs)
        if rates is not None:
            self.metrics.update(rates.metrics())
            rates.check(self.max_undecided_rate)

    @property
    def _group_size(self) -> int:
        return int(self.args.rollout.n_samples_per_prompt)

    def _ranks(self) -> int:
        """Data-parallel ranks of the actor, as RemoteExperienceMaker.split_rollout_samples counts them."""
        per_sample = self.args.ds.ring_attn_size * self.args.ds.tensor_parallel_size
        return max(1, self.args.actor.num_nodes * self.args.actor.num_gpus_per_node // per_sample)

    def _reallocate(
        self, experiences: list[Experience], scores_B: list[torch.Tensor], order_B: torch.Tensor
    ) -> ReallocationResult:
        """DiPO's step on the batch by prompt group; fills `metrics` and `rollouts`."""
        size = self._group_size
        rewards_PG = to_groups([e.rewards for e in experiences], order_B, size).float()
        scores_PG = to_groups(scores_B, order_B, size).float()
        log_probs = [e.action_log_probs for e in experiences]
        if self.off_policy:
            log_probs = rollout_log_probs(experiences)
        log_ppl = [
            sequence_log_ppl(old, e.action_mask) for old, e in zip(log_probs, experiences, strict=True)
        ]
        log_ppl_PG = to_groups(log_ppl, order_B, size)
        tokens_PG = None
        if self.dipo_config.normalizer == "per_stream":
            tokens_PG = to_groups([e.action_mask.sum(-1) for e in experiences], order_B, size)
        maxima = [e.info["reward_max"] for e in experiences if "reward_max" in e.info]
        maxima_PG = to_groups(maxima, order_B, size).float() if maxima else None
        try:
            correct_PG = correctness(scores_PG, self.dipo_config.correct_from, maxima_PG)
        except ValueError as error:
            raise UserError(f"reward.remote_url: {error}") from None
        result = reallocation_advantages(
            rewards_PG, correct_PG, log_ppl_PG, self.dipo_config, self.queue, num_tokens=tokens_PG
        )
        self.metrics = {**result.metrics, "rollout/accuracy": correct_PG.float().mean().item()}
        if self.off_policy:
            self.metrics["async/doubtful_log_probs"] = doubtful_share(experiences)
        prompts_B = list(itertools.chain.from_iterable(e.prompts for e in experiences))
        first_of_group = {int(row): prompts_B[i] for i, row in enumerate(order_B) if row % size == 0}
        self.rollouts = Rollouts(
            prompts=[first_of_group[row] for row in sorted(first_of_group)],
            correct=correct_PG,
            rewards=rewards_PG,
            log_ppl=log_ppl_PG,
            fired=result.fired_P,
        )
        return result

    def _add(self, experiences: list[Experience], order_B: torch.Tensor, result: ReallocationResult) -> None:
        """Replace the base stream of zero-variance groups by DiPO's stream, or exact zeros; keep all else.

        Zeros are needed even where DiPO does not act: a group of equal rewards that floats cannot represent, such
        as 0.7, gets |A| = 0.92 from OpenRLHF, because its mean differs from its members by one rounding step.
        """
        added_B = result.advantages_r_PG.reshape(-1)[order_B]
        zero_B = result.zero_variance_P.repeat_interleave(self._group_size)[order_B]
        check_disjoint((~zero_B).float(), added_B)  # a base stream is non-zero at most where rewards differ
        for experience, rows in with_rows(experiences):
            advantages_BA, mask_BA = experience.advantages, experience.action_mask
            zero = zero_B[rows].to(advantages_BA.device)
            extra = added_B[rows].to(advantages_BA.device, advantages_BA.dtype)
            advantages_BA[zero] = extra[zero][:, None] * mask_BA[zero].to(advantages_BA.dtype)

    def _replace(
        self,
        experiences: list[Experience],
        order_B: torch.Tensor,
        result: ReallocationResult,
        entropies: Sequence[torch.Tensor],
    ) -> None:
        """The method's own advantages in the place of OpenRLHF's."""
        method, size, rollouts = self.method, self._group_size, self.rollouts
        if method.needs_entropy and not entropies:
            raise RuntimeError(f"dipo.method {method.name}: the actor returned no token entropies")
        assert rollouts is not None
        advantages_PGA = method.advantages(
            Rollout(
                rewards_PG=rollouts.rewards,
                correct_PG=rollouts.correct,
                action_mask_PGA=to_token_groups([e.action_mask for e in experiences], order_B, size),
                log_ppl_PG=rollouts.log_ppl,
                token_entropy_PGA=to_token_groups(entropies, order_B, size) if method.needs_entropy else None,
                progress=self.progress,
                reallocated_PG=result.advantages_r_PG,
                estimator=self.dipo_config.estimator,
            )
        )
        advantages_BA = advantages_PGA.reshape(-1, advantages_PGA.shape[-1])[order_B]
        for experience, rows in with_rows(experiences):
            before = experience.advantages
            width = before.shape[1]
            experience.advantages = advantages_BA[rows, :width].to(before.device, before.dtype)
            experience.returns = experience.advantages.clone()

    def _kept_groups(self, result: ReallocationResult) -> torch.Tensor:
        """[P] bool: groups that are trained on. With keep_and_refill: those with variance, and of those that DiPO acts on
        as many as train.batch_size has room for, a new choice every step and the same after a resume; else all.
        """
        if not self.dipo_config.keep_and_refill:
            return torch.ones_like(result.fired_P)
        room = self.args.train.batch_size // self._group_size - self.args.rollout.batch_size
        slots_P = choose(result.fired_P, room, seed=self.queue.pushes)
        self.metrics["dipo/fired_without_room"] = float(result.fired_P.sum() - slots_P.sum())
        return ~result.zero_variance_P | slots_P


def _check_scores(samples: Sequence[Experience]) -> None:
    """Raise RuntimeError where the reward gave none: a file's mistakes are found in the engine (reward_results.py)."""
    if any(sample.scores is None or sample.rewards is None for sample in samples):
        raise RuntimeError(
            "a sample has no score: the reward of reward.remote_url, or the agent, has given none (train.log says why)"
        )
