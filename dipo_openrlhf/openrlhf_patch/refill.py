"""Sampling that replaces all-correct and all-incorrect groups by further prompts, with a cap.

Two uses: a method's dynamic sampling, as DAPO's (arXiv 2503.14476, section 3.2), which drops such groups, or the
all-correct ones alone, and DiPO's keep_and_refill, which keeps them for the perplexity queue and the reallocation.
OpenRLHF's own filter (openrlhf/trainer/ppo_utils/samples_generator.py, SamplesGenerator._generate_vllm) drops by the
mean of the scores, samples without limit, and trains surplus samples in a later step with an older policy. Here a
step's samples are that step's, and no accepted one is lost when the prompts run out: the last batch is smaller.
"""

from __future__ import annotations

import math
from typing import Any

import ray
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.samples_generator import _collect_prompt_batch
from openrlhf.trainer.ray.vllm_engine import batch_vllm_engine_call

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import DipoConfig, correctness, methods
from dipo_openrlhf.algorithm.config import CorrectFrom
from dipo_openrlhf.openrlhf_patch.rollouts import POLL_SECONDS, OrderedGenerator


def refills(dipo_config: DipoConfig) -> bool:
    """Whether the recipe's method samples with this generator."""
    method = methods.get(dipo_config.method)
    return method.dynamic_sampling or (method.reallocates and dipo_config.keep_and_refill)


def is_extreme(scores: list[float]) -> bool:
    """Whether a group's scores are all equal: such a group has no gradient of its own."""
    return all(score == scores[0] for score in scores)


def is_all_incorrect(group: list[Experience], correct_from: CorrectFrom) -> bool:
    """Whether no response of the group is correct. Raises UserError for a score on another scale than `correct_from`."""
    maxima = [sample.info["reward_max"][0] for sample in group if "reward_max" in sample.info]
    try:
        correct_G = correctness(
            torch.tensor(_scores(group)), correct_from, torch.stack(maxima) if maxima else None
        )
    except ValueError as error:
        raise UserError(f"reward.remote_url: {error}") from None
    return not bool(correct_G.any())


class RefillGenerator(OrderedGenerator):
    """OpenRLHF's generator with refilling.

    Attributes:
        trained_incorrect: `dipo.correct_from` where the method trains on all-incorrect groups, which then count among
            those with variance; None where it does not.
        metrics: of the last batch: groups sampled, further prompts, groups still missing, and the mean score of all
            samples, those of dropped groups included.
    """

    def __init__(
        self,
        *,
        keep_extremes: bool,
        refill_cap: float,
        trained_incorrect: CorrectFrom | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.keep_extremes = keep_extremes
        self.refill_cap = refill_cap
        self.trained_incorrect = trained_incorrect
        self.metrics: dict[str, float] = {}

    @torch.no_grad()
    def generate_samples(self, **generate_kwargs: Any) -> tuple[list[Experience], float | None, int, bool]:
        """(samples, share of groups with variance in percent, prompts consumed, whether prompts have run out)."""
        self.open_data()
        if self.args.vllm.enable_sleep:
            batch_vllm_engine_call(self.vllm_engines, "wake_up")
        try:
            normal, extreme, consumed, exhausted = self._sample_groups(generate_kwargs)
        finally:
            if self.args.vllm.enable_sleep:
                batch_vllm_engine_call(self.vllm_engines, "sleep")
        if exhausted:
            self._dataloader_iter = None
        groups = normal + (extreme if self.keep_extremes else [])
        samples = [sample for group in groups for sample in group]
        sampled = len(normal) + len(extreme)
        if sampled and not groups:
            print(f"nothing to train on in this batch: groups sampled: {sampled}, kept: 0", flush=True)
        share = 100 * len(normal) / sampled if sampled else None
        return self.counted((samples, share, consumed, exhausted))

    @property
    def place(self) -> int | None:
        """How many prompts a step uses up is known only when it has."""
        return self.run_length.place(self.batch_start)

    def _sample_groups(
        self, generate_kwargs: dict[str, Any]
    ) -> tuple[list[list[Experience]], list[list[Experience]], int, bool]:
        """Groups with variance, groups without, prompts consumed, and whether the prompts have run out."""
        wanted = self.args.rollout.batch_size
        budget = math.ceil(self.refill_cap * wanted)
        pending, exhausted = self._dispatch(wanted, generate_kwargs)
        place = {ref: place for place, ref in enumerate(pending)}
        consumed, refilled = len(pending), 0
        normal: dict[int, list[Experience]] = {}  # by place in the data, which decides the order
        extreme: dict[int, list[Experience]] = {}
        while pending:
            ready, pending = ray.wait(pending, num_returns=1, timeout=POLL_SECONDS)
            for ref in ready:
                group = [self._process_response_into_experience(r, **generate_kwargs) for r in ray.get(ref)]
                (extreme if self._is_replaced(group) else normal)[place[ref]] = group
                missing = wanted - len(normal) - len(pending)
                if missing > 0 and refilled < budget and not exhausted:
                    more, exhausted = self._dispatch(min(missing, budget - refilled), generate_kwargs)
                    place.update({ref: len(place) + further for further, ref in enumerate(more)})
                    pending += more
                    refilled += len(more)
        everything = [score for group in in_order(normal) + in_order(extreme) for score in _scores(group)]
        self.metrics = {
            "refill/groups_sampled": float(len(normal) + len(extreme)),
            "refill/further_prompts": float(refilled),
            "refill/groups_missing": float(wanted - len(normal)),
            "refill/score_mean": sum(everything) / len(everything) if everything else math.nan,
        }
        return in_order(normal), in_order(extreme), consumed + refilled, exhausted

    def _is_replaced(self, group: list[Experience]) -> bool:
        if not is_extreme(_scores(group)):
            return False
        return self.trained_incorrect is None or not is_all_incorrect(group, self.trained_incorrect)

    def _dispatch(self, count: int, generate_kwargs: dict[str, Any]) -> tuple[list[Any], bool]:
        """Start sampling `count` prompts: (references, whether the prompts have run out)."""
        prompts, labels, images, exhausted = _collect_prompt_batch(self._dataloader_iter, count)
        if not prompts:
            return [], exhausted
        return self._dispatch_prompts_to_vllm(prompts, labels, images=images, **generate_kwargs), exhausted


def in_order(groups: dict[int, list[Experience]]) -> list[list[Experience]]:
    """Groups by their place in the data."""
    return [groups[place] for place in sorted(groups)]


def rollout_generator(
    plain: Any,
    dipo_config: DipoConfig,
    seed: int | None,
    log_probs: bool = False,
    ordered: Any = OrderedGenerator,
    refill: Any = RefillGenerator,
) -> Any:
    """The recipe's generator, of class `ordered` or `refill`, with the parts of OpenRLHF's own (`plain`)."""
    names = ("strategy", "prompts_dataloader", "eval_dataloader", "tokenizer", "vllm_engines")
    parts = {name: getattr(plain, name) for name in names}
    method = methods.get(dipo_config.method)
    if refills(dipo_config):
        return refill(
            keep_extremes=dipo_config.keep_and_refill,
            refill_cap=dipo_config.refill_cap,
            trained_incorrect=dipo_config.correct_from if method.keeps_all_incorrect else None,
            seed=seed,
            log_probs=log_probs,
            **parts,
        )
    return ordered(seed=seed, log_probs=log_probs, **parts)


def _scores(group: list[Experience]) -> list[float]:
    """Raises RuntimeError where the reward function gave none."""
    if any(sample.scores is None for sample in group):
        raise RuntimeError("a sample has no score: the reward function of reward.remote_url returned none")
    return [float(sample.scores[0]) for sample in group]
