"""Rollouts in the order of the data: what a step trains does not depend on which response was ready first.

openrlhf/trainer/ppo_utils/samples_generator.py, SamplesGenerator._generate_vllm collects groups as they are completed, so
that micro-batches and optimizer windows differ from run to run. In the order of the data, and with a seed for every
prompt (engine.py, SeededEngine), a resumed run takes the same samples as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator, _collect_prompt_batch

from dipo_openrlhf.openrlhf_patch.actor import set_rng_state
from dipo_openrlhf.openrlhf_patch.engine import seed_of
from dipo_openrlhf.openrlhf_patch.schedule import RunLength

POLL_SECONDS = 10.0


class _RequestHandle:
    """An engine's handle that completes each request. OpenRLHF calls `generate_responses.remote`.

    It would send the tokenizer with every prompt: half a second of an engine's time each, of which a step of 512 prompts
    has many. The engine has it already (OrderedGenerator._dispatch_prompts_to_vllm).
    """

    def __init__(self, engine: Any, generator: OrderedGenerator) -> None:
        self.engine = engine
        self.generator = generator

    def __getattr__(self, name: str) -> Any:
        return self if name == "generate_responses" else getattr(self.engine, name)

    def remote(self, *, sampling_params: Any, hf_tokenizer: Any, **request: Any) -> Any:
        params = self.generator.completed(sampling_params.clone())
        return self.engine.generate_responses.remote(sampling_params=params, hf_tokenizer=None, **request)


Base: Any = SamplesGenerator


class OrderedGenerator(Base):
    """OpenRLHF's generator, in the order of the data.

    Attributes:
        position: prompts of the training data sampled so far; part of the training state.
        batch_start: `position` before the batch that was made last.
        rng: of a resumed run, the random state to restore once the data are read; else None.
    """

    def __init__(self, *, seed: int | None = None, log_probs: bool = False, **parts: Any) -> None:
        """`seed`: of the run, or None for samples from the engines' own generators. `log_probs`: request those of the
        sampled tokens too where OpenRLHF does not, so that vllm_kl can be logged.
        """
        super().__init__(**parts)
        self.seed, self.log_probs = seed, log_probs
        self.position = self.batch_start = 0
        self.rng: dict[str, Any] | None = None
        self._evaluated: int | None = None  # prompts of a running evaluation
        self._dataloader_iter: Iterator[Any] | None = None
        self._sample_buffer: list[Experience] = []
        self.vllm_engines = [_RequestHandle(engine, self) for engine in parts["vllm_engines"] or []]
        self._engines_have_tokenizer = False

    def completed(self, sampling_params: Any) -> Any:
        """What is sent to an engine for one prompt; changes its argument."""
        if self.seed is not None:
            sampling_params.seed = self.next_seed()
        if self.log_probs and self._evaluated is None:
            sampling_params.logprobs = 1
        return sampling_params

    def next_seed(self) -> int:
        """The seed of the next prompt that is sent to an engine."""
        if self._evaluated is not None:
            self._evaluated += 1
            return seed_of("evaluation", self.seed or 0, self._evaluated)
        self.position += 1
        return seed_of("rollout", self.seed or 0, self.position)

    @property
    def run_length(self) -> RunLength:
        """Steps and updates of the whole run."""
        return RunLength.of(self.args, len(self.prompts_dataloader))

    @property
    def place(self) -> int | None:
        """Where the learning rate's schedule stands before the batch that was made last; None: where its updates have
        brought it. Prompts that are refilled or filtered make fewer updates than any count that is made before the run.
        """
        if not self.args.algo.dynamic_filtering_enable:
            return None
        return self.run_length.place(self.batch_start)

    @property
    def is_exhausted(self) -> bool:
        """Whether the pass over the data has ended and all of its samples have been served."""
        return self._dataloader_iter is None and not self._sample_buffer

    def open_data(self) -> None:
        """Begin a pass over the data unless one is in progress. Drawing its order advances torch's generator."""
        self.batch_start = self.position
        if self.is_exhausted:
            self._dataloader_iter = iter(self.prompts_dataloader)
        if self.rng is not None:
            set_rng_state(self.rng)
            self.rng = None

    @torch.no_grad()
    def generate_eval_samples(self, **generate_kwargs: Any) -> list[Experience]:
        """As OpenRLHF's; an evaluation has its own seeds, the same every time."""
        self._evaluated = 0
        try:
            return super().generate_eval_samples(**generate_kwargs)
        finally:
            self._evaluated = None

    @torch.no_grad()
    def generate_samples(self, **generate_kwargs: Any) -> tuple[list[Experience], float | None, int, bool]:
        self.open_data()
        return self.counted(super().generate_samples(**generate_kwargs))

    def counted(
        self, batch: tuple[list[Experience], float | None, int, bool]
    ) -> tuple[list[Experience], float | None, int, bool]:
        """The batch, whose third value is the prompts it has used up."""
        self.position = self.batch_start + batch[2]
        return batch

    def _dispatch_prompts_to_vllm(self, *prompts: Any, **options: Any) -> list[Any]:
        """OpenRLHF's; before the first prompts every engine gets the tokenizer."""
        if not self._engines_have_tokenizer:
            tokenizer = ray.put(self.tokenizer)
            ray.get([engine.take_tokenizer.remote(tokenizer) for engine in self.vllm_engines])
            self._engines_have_tokenizer = True
        refs: list[Any] = super()._dispatch_prompts_to_vllm(*prompts, **options)
        return refs

    def _generate_vllm(
        self, dataloader_iter: Any, num_prompts: int, dynamic_filtering: bool, **generate_kwargs: Any
    ) -> tuple[list[Experience], int, bool]:
        """(samples by group in the order of the data, prompts consumed, whether the prompts have run out)."""
        if dynamic_filtering:
            # OpenRLHF's own filter, which no method of ours uses (refill.py).
            return super()._generate_vllm(dataloader_iter, num_prompts, dynamic_filtering, **generate_kwargs)
        prompts, labels, images, exhausted = _collect_prompt_batch(dataloader_iter, num_prompts)
        if not prompts:
            return [], 0, True
        pending = self._dispatch_prompts_to_vllm(prompts, labels, images=images, **generate_kwargs)
        groups: dict[Any, list[Experience]] = {ref: [] for ref in pending}  # in the order of the data
        while pending:
            ready, pending = ray.wait(pending, num_returns=1, timeout=POLL_SECONDS)
            for ref in ready:
                groups[ref] = [
                    self._process_response_into_experience(r, **generate_kwargs) for r in ray.get(ref)
                ]
        return [sample for group in groups.values() for sample in group], len(prompts), exhausted
